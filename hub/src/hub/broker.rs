//! The broker, from the configuration: how to reach it, and its topology.

use std::path::Path;
use std::time::Duration;

use broker_topology::Topology;
use messaging::apply::{ApplyError, Mode, apply};
use messaging::connection::{BrokerOptions, Link};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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

/// Sees to the topology until it is there; then `declared` is true.
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
    loop {
        let applied = tokio::select! {
            () = drain.cancelled() => return,
            applied = apply(&link, &topology, mode) => applied,
        };
        match applied {
            Ok(applied) => {
                tracing::info!(created = applied.created.len(), present = applied.present, "the topology is there");
                declared.send_replace(true);
                // Kept until the end: a dropped sender would look like a change.
                return drain.cancelled().await;
            }
            Err(ApplyError::Stopped(_)) => return,
            Err(error) => tracing::error!(error = %error, "the topology is not there, trying again"),
        }
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
    }
}
