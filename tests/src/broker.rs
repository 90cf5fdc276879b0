//! A private RabbitMQ node: the real server, in a folder of its own, on ports of its own.
//!
//! [`Broker::shared`] is one node for all tests of a binary (a start takes about five seconds), with
//! one virtual host and user per test. [`Broker::dedicated`] is for tests that kill, stop or alarm
//! the node; those primitives refuse to work on the shared one. [`Cluster`] is several of those that
//! are one broker.
//!
//! The node has its own `epmd`, cookie and data, so neither a system broker nor another test sees
//! it. It ends with the test process, whatever way that ends.
//!
//! `WARREN_TEST_RABBITMQ_HOME` names the folder that holds `sbin/rabbitmq-server`, and
//! `WARREN_TEST_RABBITMQ_ROOT` the root of another Debian with the package in it, to run the same
//! tests on another version. A missing server fails the test.

mod cluster;
mod faults;
mod install;
mod management;
mod message;
mod node;
mod vhost;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

pub use cluster::Cluster;
use cluster::Seat;
pub use management::Management;
pub use message::Message;
use node::Node;
pub use vhost::Vhost;

use crate::process::Process;
use crate::runtime;

/// The administrator of every private node.
const ADMIN: &str = "warren";
/// Its password; the node listens on the loopback only.
const PASSWORD: &str = "warren-test-admin";

static SHARED: OnceCell<Result<Broker, String>> = OnceCell::const_new();

/// How a dedicated node differs from the shared one.
#[derive(Clone, Debug, Default)]
pub struct BrokerOptions {
    /// After this time RabbitMQ takes an unacknowledged delivery back. `None`: 30 minutes, its own
    /// default. It looks once a minute, so a minute is the least that makes sense.
    pub consumer_timeout: Option<Duration>,
    /// Plugins beside `rabbitmq_management`, such as `rabbitmq_mqtt`.
    pub plugins: Vec<String>,
    /// More lines for `rabbitmq.conf`.
    pub config: String,
    /// What the node loads when it starts (`load_definitions`); it then has no user but those in there.
    pub definitions: Option<String>,
    /// An `amqps` listener besides, for clients with a certificate only, and the management API over TLS, for everybody.
    pub tls: Option<Tls>,
}

/// What an `amqps` listener shows and whom it lets in, each as PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority whose client certificates are accepted.
    pub authority: String,
    /// The listener's certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A running private node.
pub struct Broker {
    shared: bool,
    server: Mutex<Process>,
    _epmd: Process,
    node: Node,
    management: Management,
    vhosts: AtomicU64,
}

impl Broker {
    /// The node that all tests of this binary share, started by whoever asks first.
    ///
    /// # Panics
    /// When RabbitMQ is missing or does not start.
    pub async fn shared() -> &'static Self {
        let start = || runtime::run(Self::launch(BrokerOptions::default(), true));
        // A node that did not start is not tried again by every test that follows.
        match SHARED.get_or_init(start).await {
            Ok(broker) => broker,
            Err(sentence) => panic!("{sentence}"),
        }
    }

    /// A node for this test alone, gone when it is dropped.
    ///
    /// # Panics
    /// When RabbitMQ is missing or does not start.
    pub async fn dedicated() -> Self {
        Self::dedicated_with(BrokerOptions::default()).await
    }

    /// A node for this test alone, with other settings.
    ///
    /// # Panics
    /// When RabbitMQ is missing or does not start.
    pub async fn dedicated_with(options: BrokerOptions) -> Self {
        match runtime::run(Self::launch(options, false)).await {
            Ok(broker) => broker,
            Err(sentence) => panic!("{sentence}"),
        }
    }

    async fn launch(options: BrokerOptions, shared: bool) -> Result<Self, String> {
        Self::launch_at(options, shared, None).await
    }

    async fn launch_at(options: BrokerOptions, shared: bool, seat: Option<Seat>) -> Result<Self, String> {
        let node = Node::prepare(&options, seat)?;
        let epmd = node.start_epmd().await?;
        let server = Mutex::new(node.start_server());
        let management = Management::new(node.address(), node.management_port, ADMIN, PASSWORD);
        node.ready(&server, &management).await?;
        Ok(Self { shared, server, _epmd: epmd, node, management, vhosts: AtomicU64::new(0) })
    }

    /// A fresh virtual host with a user of its own, removed when it is dropped.
    ///
    /// Its name holds a slash (`t/7`), so that a URL or path built without encoding is found out.
    pub async fn vhost(&self) -> Vhost {
        let number = self.vhosts.fetch_add(1, Ordering::Relaxed) + 1;
        Vhost::create(self.management.clone(), self.amqp_addr(), number).await
    }

    /// Where it speaks AMQP: the place to put a [`Proxy`](crate::proxy::Proxy) in front of.
    pub fn amqp_addr(&self) -> SocketAddr {
        SocketAddr::from((self.node.address(), self.node.amqp_port))
    }

    /// Where it speaks AMQP over TLS.
    ///
    /// # Panics
    /// When it was not asked to.
    pub fn amqps_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.node.amqps_port.expect("BrokerOptions::tls was not set")))
    }

    /// Where its management API is over TLS, which asks for no client certificate.
    ///
    /// # Panics
    /// When it was not asked to.
    pub fn management_tls_port(&self) -> u16 {
        self.node.management_tls_port.expect("BrokerOptions::tls was not set")
    }

    /// Gives the `amqps` listener, and the management API, other certificates, which hold for connections from now on.
    pub async fn change_certificates(&self, tls: &Tls) {
        self.only_dedicated("change_certificates");
        self.node.write_certificates(tls).expect("the node's folder can be written");
        self.ctl(&["eval", "ssl:clear_pem_cache()."]).await;
    }

    /// An administrator's AMQP URL for the virtual host `/`.
    pub fn admin_url(&self) -> String {
        format!("amqp://{ADMIN}:{PASSWORD}@{}/%2F", self.amqp_addr())
    }

    /// The management API, as administrator.
    pub fn management(&self) -> &Management {
        &self.management
    }

    /// The version the node reports, such as `3.10.8`.
    pub async fn version(&self) -> String {
        let overview = self.management.get("/api/overview").await;
        let version = overview["rabbitmq_version"].as_str();
        version.expect("RabbitMQ tells its version").to_owned()
    }

    /// The process number of the node.
    pub fn pid(&self) -> u32 {
        self.server.lock().unwrap().pid()
    }

    /// Runs `rabbitmqctl` on this node and returns what it printed.
    ///
    /// # Panics
    /// When the command fails.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = self.node.script("rabbitmqctl");
        command.arg("-q").args(arguments);
        let said = arguments.join(" ");
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.unwrap().expect("rabbitmqctl could not be run");
        assert!(
            output.status.success(),
            "rabbitmqctl {said} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Writes a file that the node and its tools can read; where they see it.
    pub fn put(&self, name: &str, text: &str) -> String {
        self.node.put(name, text).expect("the node's folder can be written").display().to_string()
    }

    /// What the node wrote to its log so far.
    pub fn log(&self) -> String {
        self.node.log()
    }
}
