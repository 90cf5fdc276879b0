//! `warren config`: what is in force, and what is wrong with it.

use broker_topology::Severity;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Surroundings;
use super::failure::Failure;
use super::print::{self, talk};
use super::settings::Settings;
use crate::config::{ConfigError, Problem};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print `ok`, or everything that is wrong with settings and topology (exit code 2)
    #[command(
        after_help = "Examples:\n  warren config check\n  warren config check --config base.toml --config production.toml\n  \
                            warren config check --json"
    )]
    Check(Check),
    /// Print all settings in force, secrets hidden
    #[command(
        after_help = "Examples:\n  warren config dump\n  warren config dump --config deploy/warren.toml --set log.level=debug"
    )]
    Dump(Dump),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    settings: Settings,
    /// For programs: a list of all findings, warnings too; empty when there is none
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Dump {
    #[command(flatten)]
    settings: Settings,
    /// As JSON instead of TOML
    #[arg(long)]
    json: bool,
}

impl ConfigCommand {
    pub(super) fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::Check(check) => check.run(around),
            Self::Dump(dump) => {
                let config = dump.settings.load(around)?;
                if dump.json { print::json(&json!(config)) } else { print::data(&config.dump()) }
            }
        }
    }
}

impl Check {
    fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let (config, findings) = self.settings.examine(around);
        if self.json {
            print::json(&findings)?;
        }
        let (errors, warnings): (Vec<Problem>, Vec<Problem>) =
            findings.into_iter().partition(|one| one.severity == Severity::Error);
        if !self.json {
            warnings.iter().for_each(|warning| talk(&format!("warning: {warning}")));
        }
        match config {
            Some(_) if self.json => Ok(()),
            Some(_) => print::data("ok\n"),
            None if self.json => Err(Failure::usage(format!("the configuration cannot be used: {} problems", errors.len()))),
            None => Err(ConfigError { problems: errors, hints: Vec::new() }.into()),
        }
    }
}
