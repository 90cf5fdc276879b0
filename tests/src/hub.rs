//! The real `warren` binary as a process, and a client for it.
//!
//! Each hub has a folder of its own with its `warren.toml`, listens on free ports of the loopback,
//! and keeps both over a restart, so that clients and tokens go on working after
//! [`HubProcess::kill9`] and [`HubProcess::start_again`].

mod client;
mod settings;
mod token;

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::{self, Process};
use crate::wait;

pub use client::{Answer, HubClient};
pub use token::{ALL_SCOPES, ISSUER, SECRET, token};

/// How long a hub may take to be ready; on an idle machine it is far under a second.
const START: Duration = Duration::from_secs(60);

/// How a hub is set up.
#[derive(Clone, Debug, Default)]
pub struct HubOptions {
    /// `broker.url`, such as [`Vhost::url`](crate::broker::Vhost::url); several with commas between them.
    pub broker_url: String,
    /// `store.url`; empty: a SQLite file in the hub's folder.
    pub store_url: String,
    /// `roles`, such as `api`; empty: all.
    pub roles: Vec<String>,
    /// Environment of the process, such as `("WARREN_CRASH_POINT", "K5:40")`. Nothing but `PATH` is
    /// inherited.
    pub env: Vec<(String, String)>,
    /// More of `warren.toml`, put at its end: `[[kind]]` tables, `[limits]`.
    pub extra_toml: String,
    /// Put before the hub's own command line, such as `unshare -m sh -c '...; exec "$@"' sh`; it must end in an exec of it.
    pub launcher: Vec<String>,
    /// What to wait for before the start counts as done.
    pub until: Until,
    /// Another binary of the workspace that is a hub, such as `hard-handlers`; empty: `warren`. It takes `serve --config FILE`.
    pub program: String,
}

/// What a start waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// `/ready` answers 200.
    #[default]
    Ready,
    /// `/live` answers 200: for a hub whose broker or store is away.
    Live,
    /// Nothing: for a hub that is expected not to come up.
    Started,
}

/// The ports of one hub.
#[derive(Clone, Copy, Debug)]
struct Ports {
    public: u16,
    admin: u16,
    internal: u16,
}

/// A hub that runs, or did.
pub struct HubProcess {
    process: Process,
    options: HubOptions,
    ports: Ports,
    folder: TempDir,
}

impl HubProcess {
    /// Starts a hub and waits until it is as [`HubOptions::until`] says.
    ///
    /// # Panics
    /// When the binary is missing, or the hub does not come up.
    pub async fn start(options: &HubOptions) -> Self {
        let folder = process::folder("hub");
        let ports = Ports { public: free_port(), admin: free_port(), internal: free_port() };
        let toml = settings::warren_toml(options, ports, folder.path());
        std::fs::write(folder.path().join("warren.toml"), toml).expect("the hub's folder can be written");
        let process = launch(options, &options.env, folder.path());
        let options = options.clone();
        let mut hub = Self { process, options, ports, folder };
        hub.ready(hub.options.until).await;
        hub
    }

    /// Starts a killed or ended hub again: same folder, same ports, its options' environment.
    ///
    /// # Panics
    /// When it still runs, or does not come up.
    pub async fn start_again(&mut self) {
        self.start_again_with(&self.options.env.clone()).await;
    }

    /// Starts a killed or ended hub again with another environment: the next crash point, or none.
    ///
    /// # Panics
    /// When it still runs, or does not come up.
    pub async fn start_again_with(&mut self, env: &[(String, String)]) {
        assert!(self.process.poll().is_some(), "start_again is for a hub that was killed or has ended");
        self.process = launch(&self.options, env, self.folder.path());
        self.ready(self.options.until).await;
    }

    /// Waits until the hub is as asked.
    ///
    /// # Panics
    /// When it ends first, or takes more than a minute.
    pub async fn ready(&mut self, until: Until) {
        let path = match until {
            Until::Ready => "/ready",
            Until::Live => "/live",
            Until::Started => return,
        };
        let client = self.client();
        let process = std::sync::Mutex::new(&mut self.process);
        let up = wait::within(START, async || {
            if process.lock().unwrap().poll().is_some() {
                return Some(false);
            }
            let answer = client.get(path).await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(true)
        });
        let fault = match up.await {
            Some(true) => return,
            Some(false) => "ended while it started".to_owned(),
            None => format!("did not answer 200 on {path} within {START:?}"),
        };
        panic!("the hub {fault}\n{}", self.process.tail());
    }

    /// A client with all scopes, as tenant `acme`, subject `tester`.
    pub fn client(&self) -> HubClient {
        self.client_as("acme", "tester", ALL_SCOPES)
    }

    /// A client with a token of these claims.
    pub fn client_as(&self, tenant: &str, subject: &str, scopes: &str) -> HubClient {
        HubClient::new(self.public_url(), Some(token(tenant, subject, scopes)))
    }

    /// A client that sends no token.
    pub fn client_without_token(&self) -> HubClient {
        HubClient::new(self.public_url(), None)
    }

    /// A client of the admin listener, with all scopes.
    pub fn admin(&self) -> HubClient {
        HubClient::new(self.admin_url(), Some(token("acme", "operator", ALL_SCOPES)))
    }

    /// Base URL of the public listener.
    pub fn public_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.public)
    }

    /// Base URL of the admin listener.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.admin)
    }

    /// Base URL of the internal listener, for `/metrics`.
    pub fn internal_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.internal)
    }

    /// The folder that holds `warren.toml` and, if it is used, `warren.db`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the hub as `kill -9` does and waits until it is gone.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Sends SIGTERM and waits for the drain.
    ///
    /// # Panics
    /// When the hub has not left within the deadline.
    pub async fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.process.terminate(deadline).await
    }

    /// Waits until the hub dies of its crash point.
    ///
    /// # Panics
    /// When it does not within the deadline, or ends in another way.
    pub async fn crashed(&mut self, deadline: Duration) {
        let status = self.process.wait(deadline).await;
        assert!(self.process.was_killed(), "the hub was to die of its crash point, but ended with {status}");
    }

    /// The process: its number, output and signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it wrote to standard error, its log, over all starts.
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}

fn launch(options: &HubOptions, env: &[(String, String)], folder: &Path) -> Process {
    let program = if options.program.is_empty() { "warren" } else { &options.program };
    let binary = process::binary(program);
    let mut command = match options.launcher.split_first() {
        Some((launcher, arguments)) => {
            let mut command = Command::new(launcher);
            command.args(arguments).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    command.args(["serve", "--config", "warren.toml"]);
    command.env_clear().current_dir(folder);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in env {
        command.env(name, value);
    }
    Process::start_in(program, command, folder)
}
