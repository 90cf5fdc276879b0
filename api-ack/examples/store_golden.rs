//! Writes `tests/golden/store-v4.sqlite` and `store-v4.sql`, a dump of Postgres. Only for a format that is not released yet: see
//! `tests/store/everything.rs`. Needs `pg_dump`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

#[path = "../tests/store/everything.rs"]
mod everything;
#[path = "../tests/store/golden.rs"]
mod golden;
#[path = "../tests/store/server.rs"]
mod server;

use std::path::Path;
use std::process::Command;

use golden::open;

const FORMAT: &str = "store-v4";

#[tokio::main]
async fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (file, dump) = (folder.join(FORMAT).with_extension("sqlite"), folder.join(FORMAT).with_extension("sql"));
    for there in [&file, &dump] {
        assert!(!there.exists(), "{} is there already: a released format is never rewritten", there.display());
    }
    // In the file that is kept nothing may be left in a log beside it.
    let made = tempfile::tempdir().unwrap();
    let made = made.path().join("warren.db");
    everything::fill(&open(&format!("sqlite://{}", made.display()), true).await.unwrap()).await.unwrap();
    let fold = Command::new("sqlite3").arg(&made).arg(format!("VACUUM INTO '{}'", file.display())).status().unwrap();
    assert!(fold.success());

    let server = server::Server::start(&[]);
    let url = server.url("postgres");
    everything::fill(&open(&url, true).await.unwrap()).await.unwrap();
    let written = Command::new("pg_dump").args(["--inserts", "--no-owner", "-d", &url]).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    // What only psql understands is left out.
    let text = String::from_utf8(written.stdout).unwrap();
    let sql = text.lines().filter(|line| !line.starts_with('\\') && !line.starts_with("--") && !line.is_empty());
    std::fs::write(&dump, sql.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}
