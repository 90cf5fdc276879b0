//! `warren topology plan`, `apply` and `check` against a real broker.

mod apply;
mod check;
mod plan;

use std::process::Command;

use serde_json::Value;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::process::{Process, binary};

use crate::world::LONG;

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }
}

/// An operator's folder beside a virtual host of its own.
struct Desk {
    vhost: Vhost,
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Desk {
    async fn set(kinds: &[&str]) -> Self {
        let broker = Broker::shared().await;
        let env = vec![("WARREN__BROKER__MANAGEMENT_URL".to_owned(), broker.management().url().to_owned())];
        let desk = Self { vhost: broker.vhost().await, folder: tempfile::tempdir().unwrap(), env };
        desk.write(kinds, "");
        desk
    }

    fn write(&self, kinds: &[&str], more: &str) {
        let kinds: String = kinds.iter().map(|kind| format!("[[kind]]\nname = \"{kind}\"\nworker = \"amqp\"\n")).collect();
        let toml = format!("[broker]\nurl = \"{}\"\n{more}{kinds}", self.vhost.url());
        std::fs::write(self.folder.path().join("warren.toml"), toml).unwrap();
    }

    fn start(&self, line: &str, env: &[(&str, &str)]) -> Process {
        let mut command = Command::new(binary("warren"));
        command.arg("topology").args(line.split_whitespace()).env_clear().current_dir(self.folder.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value))).envs(env.iter().copied());
        command.stdin(std::process::Stdio::null());
        Process::start("warren", command)
    }

    async fn run(&self, line: &str) -> Said {
        self.run_with(line, &[]).await
    }

    async fn run_with(&self, line: &str, env: &[(&str, &str)]) -> Said {
        ended(self.start(line, env)).await
    }
}

async fn ended(mut process: Process) -> Said {
    let code = process.wait(LONG).await.code();
    Said { code, out: process.stdout(), err: process.stderr() }
}
