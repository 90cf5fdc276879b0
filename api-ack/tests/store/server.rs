//! A PostgreSQL of one's own: started in a temporary folder, reached by a socket in it, gone with the process that asked for it.
//!
//! The server hangs on a pipe from this process, so it ends, and its folder with it, however this process ends.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the server given as arguments until standard input ends, then stops it and removes the folder.
const KEEPER: &str = r#"folder=$1; shift; "$@" >"$folder/log" 2>&1 </dev/null & server=$!
read -r _; kill -INT "$server"; wait "$server"; rm -rf "$folder""#;

/// A running server.
pub struct Server {
    folder: PathBuf,
    _keeper: Child,
    _pipe: Option<ChildStdin>,
}

impl Server {
    /// Starts one, with `fsync` on and the given settings.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::try_start(settings).unwrap_or_else(|error| {
            panic!("these tests start a private PostgreSQL, and that failed: {error}; on Debian: apt-get install postgresql")
        })
    }

    fn try_start(settings: &[(&str, &str)]) -> io::Result<Self> {
        let programs = programs()?;
        let account = account()?;
        let folder = tempfile::Builder::new().prefix("warren-pg-").tempdir()?.keep();
        let data = folder.join("data");
        if let Some((uid, gid)) = account {
            chown(&folder, Some(uid), Some(gid))?;
        }
        let mut initdb = as_account(programs.join("initdb"), account);
        let made = initdb
            .current_dir(&folder)
            .args(["-A", "trust", "-U", "warren", "-E", "UTF8", "--no-sync", "-D"])
            .arg(&data)
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let mut keeper = as_account("sh", account);
        keeper.args(["-c", KEEPER, "sh"]).arg(&folder).arg(programs.join("postgres")).arg("-D").arg(&data).arg("-k").arg(&folder);
        keeper.args(["-c", "listen_addresses=", "-c", "max_connections=200"]);
        for (name, value) in settings {
            keeper.args(["-c", &format!("{name}={value}")]);
        }
        // Its own process group: a Ctrl-C is for us, the pipe tells the server.
        let mut keeper = keeper.current_dir(&folder).process_group(0).stdin(Stdio::piped()).spawn()?;
        let server = Self { _pipe: keeper.stdin.take(), _keeper: keeper, folder };

        let deadline = Instant::now() + Duration::from_secs(60);
        while !Command::new(programs.join("pg_isready")).arg("-q").arg("-h").arg(&server.folder).status()?.success() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("it is not ready after 60 s: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// What it has written to its log.
    #[allow(dead_code, reason = "an example starts one as well, and does not look")]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// The URL of a database on it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://warren@localhost/{database}?host={}", self.folder.display())
    }
}

/// Where `initdb` and `postgres` are: the newest version Debian has installed.
fn programs() -> io::Result<PathBuf> {
    let root = Path::new("/usr/lib/postgresql");
    let versions = fs::read_dir(root).map_err(|_| io::Error::other("there is no /usr/lib/postgresql"))?;
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok());
    let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join("bin/postgres").exists());
    let newest = newest.max_by_key(version).ok_or_else(|| io::Error::other("/usr/lib/postgresql holds no server"))?;
    Ok(newest.join("bin"))
}

/// Postgres refuses to run as root; then it runs as `postgres` or `nobody`.
fn account() -> io::Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let of = |name: &str| {
        let mut fields = accounts.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres")
        .or_else(|| of("nobody"))
        .map(Some)
        .ok_or_else(|| io::Error::other("no account `postgres` or `nobody` to run it as"))
}

fn as_account(program: impl AsRef<std::ffi::OsStr>, account: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    command
}
