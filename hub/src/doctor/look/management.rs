//! What the management API tells, part by part.

use broker_topology::Names;
use reqwest::Url;
use serde::de::DeserializeOwned;

use super::amqp::is_loopback;
use crate::doctor::snapshot::{DeviceQueues, ManagementApi, Overview, Queue, Seen, Unseen, VhostInfo};
use crate::management::{Management, ManagementError};

/// Of each queue; without them a broker with thousands of queues answers with tens of megabytes.
const COLUMNS: &str = "name,type,state,policy,operator_policy,effective_policy_definition,leader,members,online,consumers,messages,\
                       messages_unacknowledged,message_stats.ack_details.rate";

/// Of each queue of a device that is looked at.
const DEVICE_COLUMNS: &str = "name,type,durable,auto_delete,exclusive,arguments";

/// Queues of devices that are looked at: who declares one wrong declares them all so.
const SOME: u32 = 100;

pub(super) async fn look(client: &Management, names: &Names) -> ManagementApi {
    let at = client.at().to_owned();
    let secure = at.starts_with("https://");
    let loopback = match Url::parse(&at).ok().and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?))) {
        Some((host, port)) => is_loopback(&format!("{host}:{port}")).await,
        None => false,
    };
    let (overview, clock) = match client.get_dated::<Overview>(&["overview"]).await {
        Ok((overview, clock)) => (Ok(overview), clock),
        Err(error) => (Err(unseen(error)), None),
    };
    if let Err(unseen) = &overview {
        return ManagementApi { secure, loopback, ..away(at, unseen) };
    }
    let vhost = client.vhost();
    let (nodes, flags, deprecated, users, user_limits, vhosts, vhost_limits, policies, operator_policies, queues, devices) = tokio::join!(
        get(client, ["nodes"], &[]),
        get(client, ["feature-flags"], &[]),
        // Older brokers have no such page.
        client.find(&["deprecated-features", "used"]),
        get(client, ["users"], &[]),
        get(client, ["user-limits"], &[]),
        // That of one asks for more rights than the list does.
        get::<Vec<VhostInfo>, 1>(client, ["vhosts"], &[]),
        get(client, ["vhost-limits", vhost], &[]),
        get(client, ["policies", vhost], &[]),
        get(client, ["operator-policies", vhost], &[]),
        queues(client, names),
        devices(client, names),
    );
    let mut api = ManagementApi {
        at,
        secure,
        loopback,
        overview,
        clock,
        nodes,
        flags,
        deprecated: deprecated.map(Option::unwrap_or_default).map_err(unseen),
        users,
        user_limits,
        vhost: vhosts.map(|all| all.into_iter().find(|one| one.name == vhost).unwrap_or_default()),
        vhost_limits,
        connections: None,
        policies,
        operator_policies,
        queues,
        devices,
    };
    if api.vhost_limit("max-connections").is_some() {
        api.connections = Some(get(client, ["vhosts", vhost, "connections"], &[("columns", "name")]).await);
    }
    api
}

/// All queues but those of devices, however many these are.
async fn queues(client: &Management, names: &Names) -> Seen<Vec<Queue>> {
    client.matching(&["queues", client.vhost()], &names.queues_but_of_devices(), COLUMNS).await.map_err(unseen)
}

async fn devices(client: &Management, names: &Names) -> Seen<DeviceQueues> {
    let found = client.some(&["queues", client.vhost()], &names.device_queues(None), DEVICE_COLUMNS, SOME).await;
    found.map(|(some, count)| DeviceQueues { count, some }).map_err(unseen)
}

async fn get<T: DeserializeOwned, const N: usize>(client: &Management, path: [&str; N], query: &[(&str, &str)]) -> Seen<T> {
    client.get(&path, query).await.map_err(unseen)
}

fn unseen(error: ManagementError) -> Unseen {
    match error {
        ManagementError::Forbidden { user, why, .. } => Unseen::Kept { tag: tag(&why), user, why },
        ManagementError::Refused { .. } => Unseen::Away { why: error.to_string(), remedy: "look at the broker's log".to_owned() },
        // Every other sentence of the client ends with its remedy.
        _ => {
            let sentence = error.to_string();
            let parts = sentence.split_once("; ").or_else(|| sentence.split_once(": "));
            let (why, remedy) = parts.unwrap_or((&sentence, "set broker.management_url"));
            Unseen::Away { why: why.to_owned(), remedy: remedy.to_owned() }
        }
    }
}

/// The tag that RabbitMQ misses, by its own words.
fn tag(why: &str) -> Option<&'static str> {
    match why {
        "Not administrator user" => Some("administrator"),
        "Not monitor user" => Some("monitoring"),
        "Not policymaker user" => Some("policymaker"),
        "Not management user" => Some("management"),
        _ => None,
    }
}

fn away(at: String, why: &Unseen) -> ManagementApi {
    fn all<T>(why: &Unseen) -> Seen<T> {
        Err(why.clone())
    }
    ManagementApi {
        at,
        secure: false,
        loopback: false,
        overview: all(why),
        clock: None,
        nodes: all(why),
        flags: all(why),
        deprecated: all(why),
        users: all(why),
        user_limits: all(why),
        vhost: all(why),
        vhost_limits: all(why),
        connections: None,
        policies: all(why),
        operator_policies: all(why),
        queues: all(why),
        devices: all(why),
    }
}
