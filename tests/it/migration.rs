//! Queues made anew with other arguments while everybody works: `warren topology migrate` on a real broker, under load, killed at each
//! step, and told to do what cannot be done.

mod kept;
mod kills;
mod limits;
mod refusals;
mod traffic;

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::process::{self, Process, binary};

use crate::world::LONG;

/// How long a queue is at rest before it is deleted: the least there is, and longer than these publishers wait for a confirm.
const SETTLE: &str = "10s";

/// The command, and the configuration it reads.
struct Migrator {
    folder: TempDir,
}

impl Migrator {
    async fn new(vhost: &Vhost, kinds: &str) -> Self {
        Self::on(Broker::shared().await, vhost, kinds)
    }

    fn on(broker: &Broker, vhost: &Vhost, kinds: &str) -> Self {
        let folder = process::folder("migrate");
        let url = Value::from(vhost.url());
        let management = Value::from(broker.management().url());
        let toml = format!("[broker]\nurl = {url}\nmanagement_url = {management}\n{kinds}");
        std::fs::write(folder.path().join("warren.toml"), toml).unwrap();
        Self { folder }
    }

    fn run(&self, arguments: &[&str], crash: Option<&str>) -> Process {
        let mut command = Command::new(binary("warren"));
        command.args(["topology"]).args(arguments).current_dir(self.folder.path());
        if let Some(point) = crash {
            command.env("WARREN_CRASH_POINT", point);
        }
        Process::start("warren-topology", command)
    }

    /// Runs it to its end: whether it succeeded, and what it said on both outputs.
    async fn ran(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut run = self.run(arguments, None);
        let status = run.wait(2 * LONG).await;
        (status.success(), run.stdout(), run.stderr())
    }

    /// What is missing on the broker is made; what is there with other arguments stays as it is.
    async fn apply(&self) {
        let (done, out, said) = self.ran(&["apply"]).await;
        assert!(done || format!("{out}{said}").contains("warren topology migrate"), "{out}{said}");
    }

    /// Migrates, killed at each of `points` and run again, until it is done.
    async fn killed_at(&self, queue: &str, points: &[&str]) {
        for point in points {
            self.dies_at(queue, point).await;
        }
        self.ends(queue).await;
    }

    async fn dies_at(&self, queue: &str, point: &str) {
        let mut run = self.run(&["migrate", queue, "--settle", SETTLE], Some(point));
        let status = run.wait(2 * LONG).await;
        assert!(run.was_killed(), "{point} was not reached: {status} {}", run.tail());
    }

    async fn ends(&self, queue: &str) {
        let (done, out, said) = self.ran(&["migrate", queue, "--settle", SETTLE]).await;
        assert!(done, "{said}");
        assert!(out.starts_with(queue), "{out}");
    }
}

/// Nothing of a migration is left, and the queue has what it should have.
async fn assert_made(vhost: &Vhost, queue: &str, argument: &str, value: impl Into<Value>) {
    assert_eq!(vhost.queue_arguments(queue).await[argument], value.into());
    let definitions = vhost.definitions().await;
    for sort in ["queues", "exchanges"] {
        let left: Vec<_> = definitions[sort].as_array().unwrap().iter().filter_map(|object| object["name"].as_str()).collect();
        assert!(!left.iter().any(|name| name.starts_with("warren.moving.")), "{left:?}");
    }
}
