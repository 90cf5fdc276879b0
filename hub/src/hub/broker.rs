//! The broker, from the configuration: how to reach it, and its topology.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker_topology::Topology;
use messaging::apply::{ApplyError, Mode, apply};
use messaging::connection::{BrokerOptions, ConnectError, Link, Stopped};
use messaging::metrics::Metrics;
use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Broker, Manage};

/// How to reach the broker; certificates are read here.
pub(crate) fn options(config: &Broker) -> Result<BrokerOptions, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let text = |path: &Path| String::from_utf8(read(path)?).map_err(|_| format!("{} is not PEM", path.display()));
    let identity = match (&config.client_cert_file, &config.client_key_file) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    let options = BrokerOptions {
        urls: config.connect_urls(),
        vhost: None,
        name: "warren".to_owned(),
        ca: config.ca_file.as_deref().map(text).transpose()?,
        identity,
        heartbeat: config.heartbeat,
        connect_timeout: Duration::from_secs(10),
    };
    options.check().map_err(|e| e.to_string())?;
    Ok(options)
}

/// A connection that ends with a command.
pub(crate) struct Session {
    pub(crate) link: Link,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Session {
    /// Begins to connect, and goes on trying until it is closed.
    pub(crate) fn open(options: BrokerOptions, purpose: &'static str) -> Result<Self, String> {
        let metrics = Metrics::new(&Registry::new()).map_err(|error| error.to_string())?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let link = Link::start(Arc::new(options), purpose, &tasks, stop.clone(), Arc::new(metrics));
        Ok(Self { link, tasks, stop })
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A link would try for ever; a command tells at once that nobody answers.
pub(crate) async fn reachable(options: &BrokerOptions) -> Result<(), ConnectError> {
    let mut latest = Ok(());
    for url in &options.urls {
        match options.try_out(url, "check").await {
            Ok(_) => return Ok(()),
            Err(error) => latest = Err(error),
        }
    }
    latest
}

/// Sees to the topology until it is there; then `declared` is true. A broker that was away may come back without some of it (a
/// node that was replaced, or killed right after a declare), so each new connection looks again. What somebody deletes while the
/// connection stands is left alone until then: `warren topology apply` brings it back.
pub(super) async fn declare(
    topology: Topology,
    manage: Manage,
    link: Link,
    declared: watch::Sender<bool>,
    drain: CancellationToken,
) {
    let mode = match manage {
        Manage::Declare => Mode::Declare,
        Manage::Check => Mode::Check,
        Manage::Off => {
            declared.send_replace(true);
            return drain.cancelled().await;
        }
    };
    // `declared` is kept until the end: a dropped sender would look like a change.
    let seen_to = async {
        loop {
            let live = link.live().await?;
            match apply(&link, &topology, mode).await {
                Ok(applied) => {
                    if *declared.borrow() && !applied.created.is_empty() {
                        tracing::warn!(created = ?applied.created, "the broker came back without these, they are declared again");
                    } else {
                        tracing::info!(created = applied.created.len(), present = applied.present, "the topology is there");
                    }
                    declared.send_replace(true);
                    link.replaced(&live).await?;
                }
                Err(ApplyError::Stopped(stopped)) => return Err::<(), Stopped>(stopped),
                Err(error) => {
                    tracing::error!(error = %error, "the topology is not there, trying again");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        }
    };
    tokio::select! {
        () = drain.cancelled() => {}
        _ = seen_to => drain.cancelled().await,
    }
}
