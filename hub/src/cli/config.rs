//! `warren config`: what is in force, and what is wrong with it.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Surroundings;
use super::failure::Failure;
use super::print;
use super::settings::Settings;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print `ok`, or everything that is wrong (exit code 2)
    #[command(after_help = "Examples:\n  warren config check\n  warren config check --config base.toml --config production.toml")]
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
            Self::Check(check) => {
                check.settings.load(around)?;
                print::data("ok\n")
            }
            Self::Dump(dump) => {
                let config = dump.settings.load(around)?;
                if dump.json { print::json(&json!(config)) } else { print::data(&config.dump()) }
            }
        }
    }
}
