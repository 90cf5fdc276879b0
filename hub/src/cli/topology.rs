//! `warren topology`: what the configuration asks for on the broker.

mod apply;
mod asyncapi;
mod broker;
mod check;
mod facts;
mod graph;
mod import;
mod lint;
mod migrate;
mod output;
mod plan;
mod show;
mod users;

use std::path::{Path, PathBuf};

use broker_topology::definitions;
use clap::{Args, Subcommand};

use super::Surroundings;
use super::failure::Failure;
use super::print::talk;
use super::settings::Settings;
use crate::config::Config;
use crate::hub;
use output::{Checked, Output};

#[derive(Debug, Subcommand)]
pub(super) enum Topology {
    /// Print definitions that RabbitMQ imports, or check a file of them
    #[command(after_help = "Examples:\n  warren topology export --config deploy/compose.toml --output definitions.json\n  \
                            warren topology export --config deploy/compose.toml --check definitions.json\n  \
                            warren topology export --with-users users.toml --output /run/secrets/definitions.json")]
    Export(Export),
    /// Print what is wrong with it, and what looks so
    #[command(after_help = "Examples:\n  warren topology lint\n  \
                            warren topology lint --config deploy/warren.toml --strict --json")]
    Lint(lint::Lint),
    /// Show what differs between the broker and the configuration, and what `apply` would do
    #[command(after_help = "Exit codes: 0 nothing to do, 2 something to do, 1 it could not be told.\n\nExamples:\n  \
                            warren topology plan\n  warren topology plan --prune --json")]
    Plan(plan::Plan),
    /// Make the broker as the configuration says: what is missing, policies; with --prune what is wanted no more
    #[command(after_help = "Exit codes: 0 the broker is as it should be, 1 something is not. A second run does nothing.\n\n\
                            Examples:\n  warren topology apply\n  warren topology apply --prune --dry-run\n  \
                            warren topology apply --config warren.toml --set broker.url=amqp://admin:secret@rabbit --json")]
    Apply(apply::Apply),
    /// Say whether the broker is as the configuration says
    #[command(after_help = "Exit codes: 0 it is, 2 it is not, 1 it could not be told.\n\nExamples:\n  \
                            warren topology check\n  warren topology check --config warren.toml --json")]
    Check(check::Check),
    /// Make queues anew whose arguments must change, without losing a message
    Migrate(migrate::Migrate),
    /// Draw it: exchanges, queues, bindings, dead letters
    #[command(after_help = "Examples:\n  warren topology graph --config deploy/compose.toml --output topology.svg\n  \
                            warren topology graph --focus orders.place --format mermaid\n  \
                            warren topology graph --format dot | dot -Tpdf -o topology.pdf")]
    Graph(graph::Graph),
    /// Describe the messages that go over the broker, as AsyncAPI 3.0
    #[command(after_help = "Examples:\n  warren topology asyncapi --config deploy/warren.toml --output asyncapi.json\n  \
                            warren topology asyncapi --config deploy/warren.toml --check asyncapi.json")]
    Asyncapi(asyncapi::AsyncApi),
    /// Give a broker the definitions of a file, and look whether it has them
    #[command(after_help = "Examples:\n  warren topology import definitions.json\n  \
                            warren topology import definitions.json --set broker.url=amqp://admin:secret@rabbit")]
    Import(import::Import),
}

/// Which broker it is about.
#[derive(Debug, Args)]
pub(super) struct At {
    /// Of the broker of this [[broker.shard]] instead of [broker]
    #[arg(long, value_name = "NAME")]
    shard: Option<String>,
}

impl At {
    /// What of `config` is about that broker.
    fn of(&self, config: Config) -> Result<Config, Failure> {
        let Some(name) = &self.shard else { return Ok(config) };
        config.of_shard(name).ok_or_else(|| {
            let known: Vec<String> = config.broker.shards.iter().map(|shard| format!("`{}`", shard.name)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::usage(format!("there is no [[broker.shard]] called `{name}`; configured: {known}"))
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Add the users that this file lists, with hashes of their passwords and their permissions: docs/topology.md shows one
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    with_users: Option<PathBuf>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

impl Topology {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::Export(export) => export.run(around),
            Self::Lint(lint) => lint.run(around),
            Self::Plan(plan) => plan.run(around).await,
            Self::Apply(apply) => apply.run(around).await,
            Self::Check(check) => check.run(around).await,
            Self::Migrate(migrate) => migrate.run(around).await,
            Self::Graph(graph) => graph.run(around),
            Self::Asyncapi(asyncapi) => asyncapi.run(around),
            Self::Import(import) => import.run(around).await,
        }
    }
}

impl Export {
    fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.at.of(self.settings.load(around)?)?;
        let text = render(&config, self.with_users.as_deref())?;
        let private = self.with_users.is_some();
        self.output.put(&text, &Checked { command: "export".to_owned(), settings: &self.settings, private })
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

fn render(config: &Config, with_users: Option<&Path>) -> Result<String, Failure> {
    let vhost = config.broker.vhost_name();
    let mut value = definitions(&merged(config)?, &vhost);
    if let Some(list) = with_users {
        users::add(&mut value, &vhost, list)?;
    }
    let text = serde_json::to_string_pretty(&value);
    text.map(|text| text + "\n").map_err(|error| Failure::failed(format!("cannot print definitions: {error}")))
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
        assert_eq!(config(&[]).broker.vhost_name(), "/");
        assert_eq!(config(&[("broker.url", "amqp://h/a%2Fb")]).broker.vhost_name(), "a/b");
        assert_eq!(config(&[("broker.url", "amqp://h")]).broker.vhost_name(), "/");
        assert_eq!(config(&[("broker.url", "amqp://h/a"), ("broker.vhost", "b")]).broker.vhost_name(), "b");
        assert_eq!(crate::config::percent_decoded("a%zz%4"), "a%zz%4");
    }

    #[test]
    fn what_is_exported_holds_the_kinds() {
        let mut config = config(&[("broker.prefix", "acme.")]);
        config.kinds.push(crate::config::KindConfig::new(broker_topology::Kind::parse("orders.place").unwrap()));
        let text = render(&config, None).unwrap();
        assert!(text.ends_with("}\n") && text.contains("\"name\": \"acme.jobs.orders.place.dead\""));
        assert!(!text.contains(".high"), "a second queue is for those who ask for it");
        config.kinds[0].priority = Some(crate::config::Priority::Normal);
        let text = render(&config, None).unwrap();
        assert!(text.contains("\"name\": \"acme.jobs.orders.place.high\"") && !text.contains("high.dead"), "{text}");
    }
}
