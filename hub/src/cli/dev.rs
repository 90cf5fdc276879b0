//! `warren dev`: everything a developer needs, in one folder and one process tree.
//!
//! Order: what can fail fast (lock, ports, configuration), RabbitMQ, the hub, the banner. Ctrl-C ends all of it; the data stays
//! under `.warren/`.

mod banner;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker_topology::Kind;
use clap::Args;

use super::Surroundings;
use super::failure::Failure;
use super::print::{self, talk};
use super::serve;
use super::settings::Settings;
use super::signals::{Hangup, Stop};
use super::token::add_dev_key;
use crate::config::{BrokerUrl, Config, KindConfig, Listen, ManagementUrl, Role, Secret};
use crate::demo;
use crate::dev::{DevError, Node, Options, Ports, ensure_free};
use crate::hub::Running;
use crate::telemetry;

/// Everything lives in `.warren/` of the folder and listens on this machine only: a private RabbitMQ, SQLite, a secret for
/// tokens. The kinds are demo.echo, demo.flaky, demo.noop, and those of a `warren.toml` in the folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  warren dev\n  warren dev --folder /tmp/try --public-port 9080\n  \
                        warren dev --amqp-port 5692 --management-port 15692 --dist-port 25692 --epmd-port 4392")]
pub(super) struct Dev {
    /// Where `.warren/` is made
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// API
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    public_port: u16,
    /// Admin API
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    admin_port: u16,
    /// Metrics
    #[arg(long, value_name = "PORT", default_value_t = 8082)]
    internal_port: u16,
    /// RabbitMQ: AMQP
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().amqp)]
    amqp_port: u16,
    /// RabbitMQ: management UI and API
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().management)]
    management_port: u16,
    /// RabbitMQ: Erlang distribution
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().dist)]
    dist_port: u16,
    /// RabbitMQ: Erlang's port mapper
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().epmd)]
    epmd_port: u16,
    /// The RabbitMQ to run, the folder that holds sbin/ [default: the one that is installed]
    #[arg(long, value_name = "FOLDER")]
    rabbitmq_home: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// What a file may say for `warren serve` and is not obeyed here, with what is to be done instead: said with `--set` it is a
/// mistake.
const OWN: [(&str, &str); 8] = [
    ("listen.public", "choose its port with --public-port"),
    ("listen.admin", "choose its port with --admin-port"),
    ("listen.internal", "choose its port with --internal-port"),
    ("broker.url", "it brings a RabbitMQ of its own; `warren serve` uses another one"),
    ("broker.vhost", "it brings a RabbitMQ of its own; `warren serve` uses another one"),
    ("broker.management_url", "it brings a RabbitMQ of its own; `--management-port` moves its API"),
    ("store.url", "it keeps its data under --folder; `warren serve` keeps it elsewhere"),
    ("roles", "it has every role; `warren serve` has some"),
];

/// RabbitMQ answers by then; what is left is a few declares.
const READY: Duration = Duration::from_secs(60);

impl Dev {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let begun = Instant::now();
        self.ensure_obeyed()?;
        self.check()?;
        let log = [("log.format", "text"), ("log.level", "warn")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = self.settings.load_with(around, &self.folder, &log)?;
        telemetry::init(&config.log);
        let mut stop = Stop::listen(Hangup::Stops)?;
        let started = tokio::select! {
            started = self.start(config, around) => started?,
            _ = stop.asked() => {
                talk("warren dev: stopped before it was ready");
                return Ok(());
            }
        };
        let Started { node, running, banner } = started;
        print::data(&banner)?;
        talk(&format!("warren dev: ready after {:.1} s; Ctrl-C stops everything, the data stays", begun.elapsed().as_secs_f64()));
        stop.asked().await;
        talk("warren dev: draining");
        let cut_short = tokio::select! {
            () = running.drain() => None,
            code = stop.asked() => Some(code),
        };
        if cut_short.is_some() {
            talk("warren dev: leaving at once; what was not finished is done again later");
        }
        // However often it is asked: a RabbitMQ that is not waited for would outlive us.
        node.stop().await;
        match cut_short {
            Some(code) => std::process::exit(code),
            None => Ok(()),
        }
    }

    /// What would make a start fail late.
    fn check(&self) -> Result<(), Failure> {
        // Said before ports are looked at: its ports are taken too, and that is not the point.
        if is_locked(&self.folder) {
            let folder = std::path::absolute(&self.folder).unwrap_or_else(|_| self.folder.clone());
            return Err(DevError::Locked { folder }.into());
        }
        self.ensure_distinct()?;
        ensure_free(self.public_port, "API", "--public-port")?;
        ensure_free(self.admin_port, "admin API", "--admin-port")?;
        ensure_free(self.internal_port, "metrics", "--internal-port")?;
        Ok(())
    }

    fn ensure_obeyed(&self) -> Result<(), Failure> {
        let own = |(key, _): &(String, String)| OWN.iter().find(|(own, _)| own == key);
        match self.settings.set.iter().find_map(own) {
            Some((key, remedy)) => Err(Failure::usage(format!("`warren dev` does not obey --set {key}: {remedy}"))),
            None => Ok(()),
        }
    }

    fn ensure_distinct(&self) -> Result<(), Failure> {
        let ports = [
            ("--public-port", self.public_port),
            ("--admin-port", self.admin_port),
            ("--internal-port", self.internal_port),
            ("--amqp-port", self.amqp_port),
            ("--management-port", self.management_port),
            ("--dist-port", self.dist_port),
            ("--epmd-port", self.epmd_port),
        ];
        for (index, (flag, port)) in ports.iter().enumerate() {
            if let Some((other, _)) = ports[..index].iter().find(|(_, before)| before == port) {
                return Err(Failure::usage(format!("{other} and {flag} are both {port}: give each a port of its own")));
            }
        }
        Ok(())
    }

    async fn start(&self, mut config: Config, around: &Surroundings) -> Result<Started, Failure> {
        let step = Instant::now();
        let node = Node::start(Options {
            folder: self.folder.clone(),
            ports: Ports { amqp: self.amqp_port, management: self.management_port, dist: self.dist_port, epmd: self.epmd_port },
            rabbitmq_home: self.rabbitmq_home.clone(),
            search_path: around.search_path.clone(),
        })
        .await?;
        talk(&format!("warren dev: RabbitMQ answers ({:.1} s)", step.elapsed().as_secs_f64()));
        let step = Instant::now();
        match self.start_hub(&mut config, &node).await {
            Ok(running) => {
                talk(&format!("warren dev: the hub is ready ({:.1} s)", step.elapsed().as_secs_f64()));
                let banner = banner::banner(&running.addresses, &node.management_url(), node.home(), &config.auth)?;
                Ok(Started { node, running, banner })
            }
            Err(failure) => {
                node.stop().await;
                Err(failure)
            }
        }
    }

    async fn start_hub(&self, config: &mut Config, node: &Node) -> Result<Running, Failure> {
        self.settle(config, node)?;
        let running = serve::hub(config.clone()).start().await?;
        match ready(running.addresses.public, running.addresses.admin).await {
            Ok(()) => Ok(running),
            Err(failure) => {
                running.drain().await;
                Err(failure)
            }
        }
    }

    /// What is the same for every `warren dev`, whatever the configuration says.
    fn settle(&self, config: &mut Config, node: &Node) -> Result<(), Failure> {
        let local = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        config.roles = Role::ALL.to_vec();
        config.devices.enabled = true;
        config.broker.urls = vec![BrokerUrl::parse(&node.amqp_url()).map_err(Failure::failed)?];
        config.broker.vhost = None;
        config.broker.management_url = ManagementUrl::parse(&node.management_url()).ok();
        config.store.url = Secret::new(format!("sqlite://{}", node.home().join("hub.db").display()));
        config.listen = Listen {
            public: local(self.public_port),
            admin: local(self.admin_port),
            internal: local(self.internal_port),
            ..config.listen.clone()
        };
        add_dev_key(&mut config.auth, node.token_secret()?);
        for name in demo::KINDS {
            if !config.kinds.iter().any(|kind| kind.name.as_str() == name) {
                let kind = Kind::parse(name).map_err(|error| Failure::failed(error.to_string()))?;
                config.kinds.push(KindConfig::new(kind));
            }
        }
        Ok(())
    }
}

struct Started {
    node: Node,
    running: Running,
    banner: String,
}

/// Whether another process holds the folder. Nothing is made: the folder may not be there yet.
fn is_locked(folder: &Path) -> bool {
    let lock = std::fs::File::open(folder.join(".warren/lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Waits until every role can do its work.
async fn ready(public: SocketAddr, admin: SocketAddr) -> Result<(), Failure> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
    let client = client.map_err(|error| Failure::failed(format!("cannot make an HTTP client: {error}")))?;
    let begun = Instant::now();
    let url = format!("http://{public}/ready");
    loop {
        // `degraded` is a 200 too: a hub without its topology accepts jobs and cannot do them yet.
        if let Ok(answer) = client.get(&url).send().await
            && answer.status().is_success()
            && answer.text().await.is_ok_and(|text| text.trim() == "ready")
        {
            return Ok(());
        }
        if begun.elapsed() > READY {
            let health = format!("http://{admin}/health");
            return Err(Failure::failed(format!(
                "the hub is not ready after {} s: try again with --set log.level=info, and ask {health} meanwhile",
                READY.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
