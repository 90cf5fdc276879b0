//! The files of one PostgreSQL cluster, and its start.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use nix::unistd::{User, geteuid};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::{self, Process};
use crate::wait;

/// The superuser.
const OWNER: &str = "warren";
/// Includes the recovery after an immediate stop.
const START: Duration = Duration::from_secs(60);

pub(super) struct Cluster {
    bin: PathBuf,
    folder: TempDir,
    /// The user and group to run as, when we are root.
    owner: Option<(u32, u32)>,
    pub(super) port: u16,
}

impl Cluster {
    /// Finds the server and makes a cluster.
    pub(super) fn prepare() -> Result<Self, String> {
        let bin = bin()?;
        let folder = process::folder("postgres");
        let owner = owner()?;
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group))
                .map_err(|error| format!("could not give {:?} to postgres: {error}", folder.path()))?;
        }
        let cluster = Self { bin, folder, owner, port: free_port() };
        let output = cluster
            .command("initdb")
            // The empty cluster need not be safe yet; the running server syncs.
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust"])
            .args([&format!("--username={OWNER}"), "--pgdata"])
            .arg(cluster.data())
            .output()
            .map_err(|error| format!("could not run initdb: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("initdb made no PostgreSQL cluster: {said}"));
        }
        Ok(cluster)
    }

    /// Starts the server; [`Cluster::ready`] tells when it serves.
    pub(super) fn start(&self) -> Process {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        command.arg("-p").arg(self.port.to_string());
        // No socket file: a path of a temporary folder may be longer than the kernel allows.
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=on",
            "synchronous_commit=on",
            "max_connections=200",
            "shared_buffers=64MB",
            "logging_collector=off",
        ] {
            command.arg("-c").arg(setting);
        }
        Process::start_in("postgres", command, self.folder.path())
    }

    /// Waits until the server takes connections.
    pub(super) async fn ready(&self, server: &Mutex<Process>) -> Result<(), String> {
        let url = self.url("postgres");
        let answer = wait::within(START, async || {
            if server.lock().unwrap().poll().is_some() {
                return Some(false);
            }
            let connection = PgConnection::connect(&url).await.ok()?;
            let _ = connection.close().await;
            Some(true)
        });
        let fault = match answer.await {
            Some(true) => return Ok(()),
            Some(false) => "ended while it started".to_owned(),
            None => format!("was not ready within {START:?}"),
        };
        let tail = server.lock().unwrap().tail();
        Err(format!("the private PostgreSQL from {} {fault}\n{tail}", self.bin.display()))
    }

    /// The password is ignored by the server; it is there so that a leak of it can be found.
    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://{OWNER}:canary-postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Whatever it starts finds the programs of this version and the server, too.
    pub(super) fn client(&self, program: &str) -> Command {
        let mut folders = vec![self.bin.clone()];
        folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::join_paths(folders).expect("folders without a colon"));
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", OWNER);
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.env_clear().current_dir(self.folder.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LC_ALL", "C");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn owner() -> Result<Option<(u32, u32)>, String> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match User::from_name("postgres") {
        Ok(Some(user)) => Ok(Some((user.uid.as_raw(), user.gid.as_raw()))),
        _ => Err("PostgreSQL refuses to run as root and there is no user postgres: \
                  install the package postgresql, or run the tests as another user"
            .to_owned()),
    }
}

/// The folder with `initdb` and `postgres`.
fn bin() -> Result<PathBuf, String> {
    let has_server = |bin: &PathBuf| bin.join("initdb").is_file() && bin.join("postgres").is_file();
    if let Some(bin) = std::env::var_os("WARREN_TEST_POSTGRES_BIN").map(PathBuf::from) {
        return Some(bin.clone())
            .filter(has_server)
            .ok_or_else(|| format!("WARREN_TEST_POSTGRES_BIN is {}, which holds no initdb and postgres", bin.display()));
    }
    // Debian keeps one folder per version and links only the clients into the path.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut bins: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
    bins.sort();
    bins.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    bins.extend(std::env::split_paths(&path));
    bins.into_iter().find(has_server).ok_or_else(|| {
        "these tests need a PostgreSQL server and found none: install the package postgresql, \
         or name its folder in WARREN_TEST_POSTGRES_BIN"
            .to_owned()
    })
}
