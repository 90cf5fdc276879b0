//! Several nodes that are one broker, each on a host of its own network.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use super::{Broker, BrokerOptions, Vhost};
use crate::network::Network;
use crate::{runtime, wait};

/// A join takes some five seconds; three nodes share two cores.
const SOON: Duration = Duration::from_secs(90);

/// After how many seconds of silence a node is taken for gone by the others, give or take a quarter. RabbitMQ's default is 60; until then
/// whatever asks the silent node hangs, on 3.10.8 new channels and bindings of all nodes too (measured). docs/cluster.md says so.
pub(super) const NET_TICKTIME: u32 = 8;

/// Where one node of a cluster is.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) address: Ipv4Addr,
    /// The network namespace.
    pub(super) space: String,
}

/// A running cluster. Its nodes are [`Broker`]s that may be hurt; node 0 is the one that the others joined.
pub struct Cluster {
    nodes: Vec<Broker>,
    network: Network,
}

impl Cluster {
    /// Starts so many nodes and joins them. In the minority a node pauses, as RabbitMQ advises.
    ///
    /// # Panics
    /// When RabbitMQ is missing, a node does not start or join, or this is not root on Linux.
    pub async fn start(nodes: usize) -> Self {
        let network = Network::new(nodes);
        let options =
            BrokerOptions { config: "cluster_partition_handling = pause_minority\n".to_owned(), ..BrokerOptions::default() };
        let launch = |host| {
            let (options, seat) = (options.clone(), Seat { address: network.address(host), space: network.space(host) });
            runtime::run(async move { Broker::launch_at(options, false, Some(seat)).await })
        };
        let mut started = Vec::new();
        for node in join_all((0..nodes).map(launch)).await {
            started.push(node.unwrap_or_else(|sentence| panic!("{sentence}")));
        }
        for node in &started[1..] {
            node.ctl(&["stop_app"]).await;
            node.ctl(&["join_cluster", &started[0].node.name]).await;
            node.ctl(&["start_app"]).await;
        }
        let cluster = Self { nodes: started, network };
        cluster.whole().await;
        cluster
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Broker] {
        &self.nodes
    }

    /// The URLs of a virtual host on every node.
    pub fn urls(&self, vhost: &Vhost) -> Vec<String> {
        self.nodes.iter().map(|node| vhost.url_at(node.amqp_addr())).collect()
    }

    /// Cuts a node off from the others and from us, without a word to anybody.
    pub fn cut(&self, node: usize) {
        self.network.cut(node);
    }

    /// Connects it again.
    pub fn mend(&self, node: usize) {
        self.network.mend(node);
    }

    /// Waits until every node sees every other.
    ///
    /// # Panics
    /// When they do not within 90 seconds.
    pub async fn whole(&self) {
        wait::until_true(SOON, "the cluster to be whole", async || {
            let seen = join_all(self.nodes.iter().map(|node| node.management.try_call("GET", "/api/nodes", None))).await;
            seen.into_iter().all(|answer| {
                let Ok((200, listed)) = answer else { return false };
                let running = listed.as_array().into_iter().flatten().filter(|node| node["running"] == true);
                running.count() == self.nodes.len()
            })
        })
        .await;
    }

    /// The node that a client of a virtual host is connected to, by the name it gave its connection.
    ///
    /// # Panics
    /// When there is none within 90 seconds.
    pub async fn node_of(&self, vhost: &Vhost, connection: &str) -> usize {
        wait::until(SOON, &format!("the connection {connection}"), async || {
            let listed = self.nodes[0].management.get("/api/connections").await;
            let named =
                |open: &&Value| open["client_properties"]["connection_name"] == connection && open["vhost"] == vhost.name();
            let open = listed.as_array().into_iter().flatten().find(named)?;
            self.nodes.iter().position(|node| open["node"] == node.node.name.as_str())
        })
        .await
    }

    /// The node that leads a quorum queue, as another one than `but` tells it.
    ///
    /// # Panics
    /// When none leads it within 90 seconds.
    pub async fn leader(&self, vhost: &Vhost, queue: &str, but: Option<usize>) -> usize {
        let asked = &self.nodes[if but == Some(0) { 1 } else { 0 }];
        wait::until(SOON, &format!("a leader of {queue}"), async || {
            let (_, told) = asked.management.try_call("GET", &vhost.path("queues", queue), None).await.ok()?;
            let leader = self.nodes.iter().position(|node| told["leader"] == node.node.name.as_str())?;
            (Some(leader) != but).then_some(leader)
        })
        .await
    }
}
