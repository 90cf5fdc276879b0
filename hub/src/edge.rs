//! The edge: what stands between the sockets and the routes.
//!
//! | part | does |
//! |---|---|
//! | [`accept`] | takes connections, so many and no more, until the drain |
//! | [`connection`] | serves one, and cuts it off when it keeps nobody's time |
//! | [`pace`] | knows what a connection is waiting for, and since when |
//! | [`front`] | the request id, the client's address, the line in the log; answers to `GET` compressed |
//! | [`farewell`] | what a client is told that is sent away before there is a request |
//! | [`client`] | who sent a request, when there are proxies |
//! | [`descriptors`] | room for so many connections |
//! | [`cors`] | what browsers may do on other people's pages |
//!
//! Guarantees: a head has its deadline from its first byte (on a fresh connection from its opening); an idle connection, and
//! one that does not take its answer, is closed after `listen.idle`, and within seconds once the process leaves; a listener has no
//! more than its connections, and what comes beyond is told so or closed. A client that is slow costs the others nothing but its
//! place.
//!
//! A route may take a connection over for another protocol (`Upgrade`, as WebSockets do): it keeps its place among the listener's
//! connections, and nothing else here applies to it any more.
//!
//! It refuses nothing by what a request says: that is for the routes. Bodies have their own deadline where they are read. Only
//! HTTP/1.1 and 1.0 are spoken, without TLS; who begins with HTTP/2 is closed without an answer.

mod accept;
mod client;
mod connection;
mod cors;
mod descriptors;
mod farewell;
mod front;
mod metrics;
mod pace;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use cors::layer as cors;
pub(crate) use descriptors::{files_for, make_room, most_files};
pub(crate) use metrics::Metrics;

use front::Door;

/// How many connections the listeners have that are not for the public.
pub(crate) const INNER_CONNECTIONS: usize = 256;

/// What every listener keeps to.
#[derive(Clone)]
pub(crate) struct Edge {
    /// How long a head may take.
    pub(crate) head_deadline: Duration,
    /// How long a connection may be idle, or leave its answer lying.
    pub(crate) idle: Duration,
    /// Whose word on the client's address is believed.
    pub(crate) trusted: Arc<[IpNet]>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Where connections run.
    pub(crate) tasks: TaskTracker,
    /// When to take no more.
    pub(crate) drain: CancellationToken,
}

impl Edge {
    /// Serves `routes` on `listener`, to `connections` at once, until the drain.
    pub(crate) fn open(&self, name: &'static str, listener: TcpListener, routes: Router, connections: usize) {
        let door = Arc::new(Door::new(routes, self.trusted.clone(), self.metrics.of(name)));
        self.tasks.spawn(accept::run(self.clone(), listener, door, connections));
    }
}
