//! What can be in the way of a private node: one sentence each, with what to do.

use std::io;
use std::path::PathBuf;

/// Why a private node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Another `warren dev` holds the folder.
    #[error(
        "another `warren dev` runs in {}: stop it first, or run this one in another folder with other ports",
        folder.display()
    )]
    Locked {
        /// The folder that holds `.warren`.
        folder: PathBuf,
    },
    /// The folder cannot be written.
    #[error("cannot write {}: {source}; run `warren dev` in a folder you own", path.display())]
    NotWritable {
        /// What could not be made or written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// RabbitMQ would never finish its start there: it hands the path to a shell in quotes, and misreads what is not Latin-1.
    #[error("RabbitMQ cannot run in {}: its path holds `{letter}`; name another folder with --folder", folder.display())]
    OddPath {
        /// The folder that holds `.warren`.
        folder: PathBuf,
        /// The first character it stumbles over.
        letter: char,
    },
    /// Too little disk space: RabbitMQ would block every publisher.
    #[error("only {free_mib} MiB are free in {}: free {needed_mib} MiB or run `warren dev` on another disk", folder.display())]
    NoSpace {
        /// Where.
        folder: PathBuf,
        /// What is free.
        free_mib: u64,
        /// What is needed.
        needed_mib: u64,
    },
    /// No RabbitMQ where one could be.
    #[error(
        "RabbitMQ is not installed: run `scripts/install-rabbitmq` (or `apt-get install rabbitmq-server`, `brew install rabbitmq`)"
    )]
    NoRabbitMq,
    /// The RabbitMQ that was named is none.
    #[error("there is no RabbitMQ in {}: name the folder that holds sbin/rabbitmq-server", home.display())]
    NotARabbitMq {
        /// The folder named.
        home: PathBuf,
    },
    /// A RabbitMQ that lacks what Warren's queues ask for.
    #[error(
        "the RabbitMQ in {} is {major}.{minor}, Warren needs 3.10 or later: see https://www.rabbitmq.com/docs/download",
        home.display()
    )]
    TooOld {
        /// Where it is.
        home: PathBuf,
        /// Its version's first number.
        major: u32,
        /// Its version's second number.
        minor: u32,
    },
    /// RabbitMQ without Erlang.
    #[error("Erlang's `{program}` is not on the PATH: install Erlang, or put the folder that holds `{program}` on the PATH")]
    NoErlang {
        /// The program that was looked for.
        program: &'static str,
    },
    /// Nodes and tools would refuse each other.
    #[error("the Erlang cookie {} {what}: delete the file, the next start makes a new one", path.display())]
    Cookie {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Somebody else listens there.
    #[error("port {port} ({what}) is taken{}: stop it, or choose another port with {flag}", by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
    PortTaken {
        /// The port.
        port: u16,
        /// What it is for.
        what: &'static str,
        /// The flag that moves it.
        flag: &'static str,
        /// The process that has it, where that is known.
        by: Option<String>,
    },
    /// Not a port this user may have.
    #[error("cannot listen on port {port} ({what}): {source}; choose another port with {flag}")]
    PortRefused {
        /// The port.
        port: u16,
        /// What it is for.
        what: &'static str,
        /// The flag that moves it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The broker ended before it answered.
    #[error("RabbitMQ ended while starting ({how}): see {}{}", log.display(), last_line(said))]
    Ended {
        /// Exit status or signal.
        how: String,
        /// Where its output is.
        log: PathBuf,
        /// The last thing it said.
        said: Option<String>,
    },
    /// The broker did not answer.
    #[error("RabbitMQ did not answer on port {port} within {seconds} s: see {}", log.display())]
    Silent {
        /// The port.
        port: u16,
        /// How long it was waited for.
        seconds: u64,
        /// Where its output is.
        log: PathBuf,
    },
}

fn last_line(said: &Option<String>) -> String {
    said.as_ref().map(|line| format!(", whose last line is `{line}`")).unwrap_or_default()
}
