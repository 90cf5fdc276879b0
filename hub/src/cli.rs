//! The command line. Data goes to stdout, talk to stderr; every failure is one sentence with the remedy.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration; `topology plan` and `topology check` have 2 for a difference. `--json` prints data for programs, tables are for people.
//! Commands on jobs, dead letters and devices call the admin API of a running hub, never its database. `docs/cli.md` is generated from
//! the definitions here.

mod callbacks;
mod client;
mod config;
mod conformance;
mod dead;
mod destinations;
mod dev;
mod devices;
mod doctor;
mod failure;
mod health;
mod jobs;
mod kinds;
mod migrate;
mod print;
mod serve;
mod settings;
mod signals;
#[cfg(test)]
mod tests;
mod token;
mod topology;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Answers critical requests at once and does the work behind RabbitMQ.
#[derive(Debug, Parser)]
#[command(name = "warren", version, disable_help_subcommand = true, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a development hub: a private RabbitMQ, SQLite and every role, in this folder
    Dev(dev::Dev),
    /// Run a hub until SIGTERM or Ctrl-C, then drain
    Serve(serve::Serve),
    /// Ask a running hub whether it can do its roles
    Health(health::Health),
    /// Look at jobs, and cancel them
    #[command(subcommand)]
    Jobs(jobs::Jobs),
    /// Look at kinds of job, pause and resume them
    #[command(subcommand)]
    Kinds(kinds::Kinds),
    /// Look at dead letters, move them back, or discard them
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Look at devices and what waits for them, empty it, end their sessions, make their tokens
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Look at who is told of the end of jobs, and tell again
    #[command(subcommand)]
    Callbacks(callbacks::Callbacks),
    /// Look at the services that kinds call
    #[command(subcommand)]
    Destinations(destinations::Destinations),
    /// Exchanges, queues and bindings, from the configuration
    #[command(subcommand)]
    Topology(topology::Topology),
    /// Look for what is wrong with the broker, the store and the way to them
    Doctor(doctor::Doctor),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Put somebody's worker through what will happen to it
    #[command(subcommand)]
    Conformance(conformance::Conformance),
    /// Make tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Bring the schema of the store up to date
    Migrate(migrate::Migrate),
}

/// What a command takes from the process it runs in; handed in, so that a test is exact.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment, as far as it is text.
    pub variables: Vec<(String, String)>,
    /// Where programs are found.
    pub search_path: OsString,
    /// The current folder.
    pub folder: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let mut found = Self { folder: PathBuf::from("."), ..Self::default() };
        for (name, value) in std::env::vars_os() {
            if name == "PATH" {
                found.search_path.clone_from(&value);
            }
            // What is no text cannot be a setting.
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                found.variables.push((name, value));
            }
        }
        found
    }
}

/// Does what the command line says; what failed is told on stderr.
pub async fn run(cli: Cli, around: Surroundings) -> ExitCode {
    let done = match cli.command {
        Command::Dev(command) => command.run(&around).await,
        Command::Serve(command) => command.run(&around).await,
        Command::Health(command) => command.run(&around).await,
        Command::Jobs(command) => command.run(&around).await,
        Command::Kinds(command) => command.run(&around).await,
        Command::Dead(command) => command.run(&around).await,
        Command::Devices(command) => command.run(&around).await,
        Command::Callbacks(command) => command.run(&around).await,
        Command::Destinations(command) => command.run(&around).await,
        Command::Topology(command) => command.run(&around).await,
        Command::Doctor(command) => command.run(&around).await,
        Command::Config(command) => command.run(&around),
        Command::Conformance(command) => command.run(&around).await,
        Command::Token(command) => command.run(&around),
        Command::Migrate(command) => command.run(&around).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::talk(&failure.to_string());
            failure.exit_code()
        }
    }
}
