//! `warren topology`: what the configuration's kinds need on the broker.

use std::path::PathBuf;
use std::sync::Arc;

use broker_topology::definitions;
use clap::{Args, Subcommand};
use messaging::apply::{Mode, apply};
use messaging::connection::Link;
use prometheus::Registry;
use reqwest::Url;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Surroundings;
use super::failure::Failure;
use super::print::{self, talk};
use super::settings::Settings;
use crate::config::{Broker, Config};
use crate::hub;

#[derive(Debug, Subcommand)]
pub(super) enum Topology {
    /// Print definitions that RabbitMQ imports, or check a file of them
    #[command(after_help = "Examples:\n  warren topology export --config deploy/warren.toml --output definitions.json\n  \
                            warren topology export --config deploy/warren.toml --check definitions.json")]
    Export(Export),
    /// Declare on the broker what is missing there
    #[command(after_help = "Examples:\n  warren topology apply\n  \
                            warren topology apply --config warren.toml --set broker.url=amqp://admin:secret@rabbit --json")]
    Apply(Apply),
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write nothing; fail when this file is not what would be written
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    check: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Topology {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::Export(export) => export.run(around),
            Self::Apply(apply) => apply.run(around).await,
        }
    }
}

impl Export {
    fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.settings.load(around)?;
        let text = render(&config)?;
        if let Some(path) = &self.check {
            let found = std::fs::read_to_string(path)
                .map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
            if found != text {
                let from: String = self.settings.config.iter().map(|file| format!(" --config {}", file.display())).collect();
                return Err(Failure::failed(format!(
                    "{0} is stale: make it anew with `warren topology export{from} --output {0}`",
                    path.display()
                )));
            }
            talk(&format!("{} is up to date", path.display()));
            return Ok(());
        }
        match &self.output {
            None => print::data(&text),
            Some(path) => {
                std::fs::write(path, text).map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
            }
        }
    }
}

fn merged(config: &Config) -> Result<broker_topology::Topology, Failure> {
    hub::topology(config).map_err(|violations| {
        for violation in &violations {
            talk(&violation.to_string());
        }
        Failure::failed(format!("the topology breaks {} rules: see above", violations.len()))
    })
}

fn render(config: &Config) -> Result<String, Failure> {
    let value = definitions(&merged(config)?, &vhost(&config.broker));
    let text = serde_json::to_string_pretty(&value);
    text.map(|text| text + "\n").map_err(|error| Failure::failed(format!("cannot print definitions: {error}")))
}

/// The vhost that is connected to.
fn vhost(broker: &Broker) -> String {
    let of_url = || {
        let url = Url::parse(broker.urls.first()?.expose()).ok()?;
        Some(decoded(url.path().trim_start_matches('/'))).filter(|path| !path.is_empty())
    };
    broker.vhost.clone().or_else(of_url).unwrap_or_else(|| "/".to_owned())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escaped.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Apply {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.settings.load(around)?;
        let topology = merged(&config)?;
        let options = hub::broker::options(&config.broker).map_err(Failure::usage)?;
        hub::broker::reachable(&options)
            .await
            .map_err(|error| Failure::failed(format!("{error}; start the broker, or set broker.url")))?;
        let metrics = messaging::metrics::Metrics::new(&Registry::new());
        let metrics = Arc::new(metrics.map_err(|error| Failure::failed(error.to_string()))?);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let link = Link::start(Arc::new(options), "topology", &tasks, stop.clone(), metrics);
        let applied = apply(&link, &topology, Mode::Declare).await;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        let applied = applied.map_err(|error| Failure::failed(error.to_string()))?;
        if self.json {
            return print::json(&applied);
        }
        print::data(&applied.created.iter().map(|name| format!("created {name}\n")).collect::<String>())?;
        talk(&format!("{} created, {} were there already", applied.created.len(), applied.present));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Sources;

    fn config(flags: &[(&str, &str)]) -> Config {
        let flags: Vec<(String, String)> = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::load(&Sources { flags: &flags, ..Sources::default() }).unwrap().config
    }

    #[test]
    fn definitions_are_for_the_vhost_that_is_connected_to() {
        assert_eq!(vhost(&config(&[]).broker), "/");
        assert_eq!(vhost(&config(&[("broker.url", "amqp://h/a%2Fb")]).broker), "a/b");
        assert_eq!(vhost(&config(&[("broker.url", "amqp://h")]).broker), "/");
        assert_eq!(vhost(&config(&[("broker.url", "amqp://h/a"), ("broker.vhost", "b")]).broker), "b");
        assert_eq!(decoded("a%zz%4"), "a%zz%4");
    }

    #[test]
    fn what_is_exported_holds_the_kinds() {
        let mut config = config(&[("broker.prefix", "acme.")]);
        config.kinds.push(crate::config::KindConfig::new(broker_topology::Kind::parse("orders.place").unwrap()));
        let text = render(&config).unwrap();
        assert!(text.ends_with("}\n") && text.contains("\"name\": \"acme.jobs.orders.place.dead\""));
        assert!(!text.contains(".high"), "a second queue is for those who ask for it");
        config.kinds[0].priority = Some(crate::config::Priority::Normal);
        let text = render(&config).unwrap();
        assert!(text.contains("\"name\": \"acme.jobs.orders.place.high\"") && !text.contains("high.dead"), "{text}");
    }
}
