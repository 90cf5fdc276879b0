//! A private PostgreSQL: a real cluster in a folder of its own, with `fsync` on.
//!
//! [`Postgres::shared`] is one server for all tests of a binary, with a database per test;
//! [`Postgres::dedicated`] is for tests that kill or stop the server. PostgreSQL refuses to run as
//! root, so root runs it as the user `postgres`.
//!
//! `WARREN_TEST_POSTGRES_BIN` names the folder of `initdb` and `postgres`. A missing server fails
//! the test.

mod cluster;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;

use crate::process::Process;
use crate::{runtime, wait};
use cluster::Cluster;

static SHARED: OnceCell<Result<Postgres, String>> = OnceCell::const_new();

/// How long the server may take to leave when told to.
const SOON: Duration = Duration::from_secs(30);

/// A running private server.
pub struct Postgres {
    shared: bool,
    server: Mutex<Process>,
    cluster: Cluster,
    databases: AtomicU64,
}

impl Postgres {
    /// The server that all tests of this binary share, started by whoever asks first.
    ///
    /// # Panics
    /// When PostgreSQL is missing or does not start.
    pub async fn shared() -> &'static Self {
        match SHARED.get_or_init(|| runtime::run(Self::launch(true))).await {
            Ok(postgres) => postgres,
            Err(sentence) => panic!("{sentence}"),
        }
    }

    /// A server for this test alone, gone when it is dropped.
    ///
    /// # Panics
    /// When PostgreSQL is missing or does not start.
    pub async fn dedicated() -> Self {
        match runtime::run(Self::launch(false)).await {
            Ok(postgres) => postgres,
            Err(sentence) => panic!("{sentence}"),
        }
    }

    async fn launch(shared: bool) -> Result<Self, String> {
        let cluster = tokio::task::spawn_blocking(Cluster::prepare).await.map_err(|error| error.to_string())??;
        let server = Mutex::new(cluster.start());
        cluster.ready(&server).await?;
        Ok(Self { shared, server, cluster, databases: AtomicU64::new(0) })
    }

    /// The URL of a fresh, empty database.
    ///
    /// # Panics
    /// When the server does not make one.
    pub async fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed) + 1;
        let admin = self.cluster.url("postgres");
        let made = runtime::run(async move {
            let mut connection = PgConnection::connect(&admin).await?;
            let create = format!("CREATE DATABASE t{number}");
            sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
            connection.close().await
        });
        if let Err(error) = made.await {
            panic!("PostgreSQL made no database for the test: {error}");
        }
        self.cluster.url(&format!("t{number}"))
    }

    /// Where it listens: the place to put a [`Proxy`](crate::proxy::Proxy) in front of.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.cluster.port))
    }

    /// A program of this version, such as `psql`, with what it needs to find the server as its owner in its environment.
    pub fn client(&self, program: &str) -> Command {
        self.cluster.client(program)
    }

    /// The process number of the postmaster.
    pub fn pid(&self) -> u32 {
        self.server.lock().unwrap().pid()
    }

    /// Stops the server without any good order, as `pg_ctl stop -m immediate` does, and waits until
    /// it is gone. What was committed is there after [`Postgres::start_again`].
    ///
    /// # Panics
    /// When it does not leave within 30 seconds.
    pub async fn kill_immediate(&self) {
        self.only_dedicated("kill_immediate");
        self.server.lock().unwrap().signal(Signal::SIGQUIT);
        wait::until_true(SOON, "PostgreSQL to leave after SIGQUIT", async || self.server.lock().unwrap().poll().is_some()).await;
    }

    /// Kills the postmaster and every session with SIGKILL and waits until all are gone: a power cut, as far as the files can
    /// tell. What was committed is there after [`Postgres::start_again`].
    ///
    /// # Panics
    /// When a session is still there after 30 seconds.
    pub async fn kill9(&self) {
        self.only_dedicated("kill9");
        let sessions = {
            let mut server = self.server.lock().unwrap();
            // Stopped first, so that no new session slips through.
            server.signal(Signal::SIGSTOP);
            let sessions = children(server.pid());
            for session in &sessions {
                let _ = kill(Pid::from_raw(*session), Signal::SIGKILL);
            }
            server.kill9();
            sessions
        };
        // Whoever lives still holds the shared memory, and the next server would not start.
        let gone = async || sessions.iter().all(|session| !lives(*session));
        wait::until_true(SOON, "PostgreSQL's sessions to be gone after SIGKILL", gone).await;
    }

    /// Starts a killed server again, on its port, and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_again(&self) {
        self.only_dedicated("start_again");
        {
            let mut server = self.server.lock().unwrap();
            assert!(server.poll().is_some(), "start_again is for a server that was killed before");
            *server = self.cluster.start();
        }
        if let Err(sentence) = self.cluster.ready(&self.server).await {
            panic!("{sentence}");
        }
    }

    /// Stops the server in its tracks (SIGSTOP), sessions included: sockets stay open and are
    /// silent.
    pub fn stop_signal(&self) {
        self.only_dedicated("stop_signal");
        // The postmaster first, so that no new session slips through.
        self.signal_all(Signal::SIGSTOP);
    }

    /// Lets a stopped server go on (SIGCONT).
    pub fn continue_signal(&self) {
        self.only_dedicated("continue_signal");
        self.signal_all(Signal::SIGCONT);
    }

    /// Sends a signal to the postmaster and then to each of its children: every one of them is in
    /// a process group of its own.
    fn signal_all(&self, signal: Signal) {
        let server = self.server.lock().unwrap();
        server.signal(signal);
        for child in children(server.pid()) {
            let _ = kill(Pid::from_raw(child), signal);
        }
    }

    fn only_dedicated(&self, what: &str) {
        assert!(!self.shared, "{what} would hit the tests that share this server: use Postgres::dedicated()");
    }
}

/// The children of a process, from `/proc`.
fn children(parent: u32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("stopping PostgreSQL's sessions needs /proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// Whether a process is there and no zombie.
fn lives(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("State:").is_some_and(|state| !state.trim_start().starts_with('Z')))
}

fn parent_of(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}
