use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use warren_tests::broker::Broker;
use warren_tests::process::{Process, folder, workspace};
use warren_tests::wait::{until, until_true};

use super::{KIND, LEAVING, QUEUE, Stage, outcomes};
use crate::world::LONG;

/// A language that has an example.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Python,
    Node,
}

use Language::{Node, Python};

/// An example as it stands, in a folder of its own, where it also keeps what it has done.
pub(crate) struct Example {
    language: Language,
    pub(crate) folder: TempDir,
}

pub(crate) fn tool(path: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let tool = target.join("tools").join(path);
    assert!(tool.exists(), "{} is missing: run scripts/install-test-tools", tool.display());
    tool
}

impl Example {
    pub(crate) fn new(language: Language) -> Self {
        let folder = folder("worker");
        if matches!(language, Node) {
            // Where Node looks for packages.
            std::os::unix::fs::symlink(tool("worker-node/node_modules"), folder.path().join("node_modules")).unwrap();
            std::fs::copy(workspace().join("docs/examples/node/worker.mjs"), folder.path().join("worker.mjs")).unwrap();
        }
        Self { language, folder }
    }

    /// The program and its arguments, to be started in its folder.
    pub(crate) fn words(&self) -> Vec<String> {
        let script = |path: PathBuf| path.display().to_string();
        match self.language {
            Python => {
                vec![script(tool("worker-python/bin/python")), script(workspace().join("docs/examples/python/worker.py"))]
            }
            Node => vec!["node".to_owned(), "worker.mjs".to_owned()],
        }
    }

    fn start(&self, url: &str, name: &str, prefetch: u16) -> Process {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.current_dir(self.folder.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("AMQP_URL", url).env("WARREN_QUEUE", QUEUE).env("WARREN_PREFETCH", prefetch.to_string());
        command.env("WARREN_WORKER", name).env("WARREN_DONE", self.done());
        Process::start("worker", command)
    }

    fn done(&self) -> PathBuf {
        self.folder.path().join("what-is-done")
    }

    /// The jobs that have had their effect, as often as they had it.
    fn effects(&self) -> Vec<String> {
        match self.language {
            Python => {
                let sql = "import sqlite3, sys; [print(job) for (job,) in sqlite3.connect(sys.argv[1]).execute('SELECT job FROM reports')]";
                let listed = Command::new(tool("worker-python/bin/python")).args(["-c", sql]).arg(self.done()).output().unwrap();
                String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
            }
            Node => {
                let names = std::fs::read_dir(self.done()).unwrap().map(|entry| entry.unwrap().path());
                let stem = |path: PathBuf| Path::new(&path).file_stem().unwrap().to_str().unwrap().to_owned();
                names.filter(|path| path.extension().is_some_and(|end| end == "json")).map(stem).collect()
            }
        }
    }
}

/// Jobs that succeed, one whose first attempt fails, one that can never be done; the worker's own lines, and the way down.
async fn does_jobs(language: Language) {
    let (stage, example) = (Stage::set().await, Example::new(language));
    let client = stage.client();
    let mut worker = example.start(&stage.vhost.url(), "printer-1", 8);
    let mut jobs = Vec::new();
    for _ in 0..30 {
        jobs.push(client.accepted(KIND, &json!({"pages": 2, "seconds": 0.01})).await);
    }
    let flaky = client.accepted(KIND, &json!({"pages": 1, "seconds": 0, "fails": 1})).await;
    let hopeless = client.accepted(KIND, &json!({"pages": "many"})).await;
    for id in &jobs {
        let job = client.wait_state(id, "succeeded", LONG).await;
        assert_eq!((&job["result"], outcomes(&job)), (&json!({"pages": 2}), vec!["succeeded"]), "{job}");
        assert_eq!(job["attempts"][0]["worker"], "printer-1", "{job}");
    }
    let tried = client.wait_state(&flaky, "succeeded", LONG).await;
    assert_eq!(outcomes(&tried), ["failed", "succeeded"], "{tried}");
    assert_eq!(tried["attempts"][0]["reason"], "printer-busy", "{tried}");
    let dead = client.wait_state(&hopeless, "dead", LONG).await;
    assert_eq!(dead["reason"], "rejected", "{dead}");
    assert!(dead["error"].as_str().unwrap().contains("`pages`"), "{dead}");

    until_true(LONG, "the queue to be empty", async || stage.vhost.queue_depth(QUEUE).await == Some(0)).await;
    assert_eq!(worker.terminate(LEAVING).await.code(), Some(0));
    let lines: Vec<Value> = worker.stdout().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.len(), 33, "one line for each run: {lines:?}");
    jobs.push(flaky);
    let effects: BTreeSet<String> = example.effects().into_iter().collect();
    assert_eq!(effects, jobs.into_iter().collect());
    // Each run was begun and ended, and every word was heard.
    stage.counted("applied", 66).await;
}

#[tokio::test]
async fn the_python_worker_does_jobs() {
    does_jobs(Python).await;
}

#[tokio::test]
async fn the_node_worker_does_jobs() {
    does_jobs(Node).await;
}

/// Killed in the middle, it loses nothing: another one has the message, and the job shows that it was begun again.
async fn dies(language: Language) {
    let (stage, example) = (Stage::set().await, Example::new(language));
    let client = stage.client();
    let mut first = example.start(&stage.vhost.url(), "first", 1);
    let id = client.accepted(KIND, &json!({"pages": 5, "seconds": 1})).await;
    let begun = stage.job_once(&id, "its first page", |job| job["progress"]["percent"] == 20).await;
    assert_eq!((&begun["state"], &begun["attempts"][0]["worker"]), (&json!("running"), &json!("first")), "{begun}");
    assert_eq!(begun["progress"]["note"], "page 1 of 5");
    first.kill9();
    let _second = example.start(&stage.vhost.url(), "second", 1);
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&job["attempt"], &job["interrupted"], outcomes(&job)), (&json!(1), &json!(1), vec!["succeeded"]), "{job}");
    assert_eq!((&job["attempts"][0]["worker"], &job["result"]), (&json!("second"), &json!({"pages": 5})), "{job}");
    assert_eq!(example.effects(), [id]);
}

#[tokio::test]
async fn a_python_worker_that_is_killed_loses_nothing() {
    dies(Python).await;
}

#[tokio::test]
async fn a_node_worker_that_is_killed_loses_nothing() {
    dies(Node).await;
}

/// It goes on after its connection was closed under it, and on SIGTERM ends what it does and takes no more.
async fn comes_back_and_drains(language: Language) {
    let (stage, example) = (Stage::set().await, Example::new(language));
    let client = stage.client();
    let mut worker = example.start(&stage.vhost.url(), "steady", 4);
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(client.accepted(KIND, &json!({"pages": 3, "seconds": 0.5})).await);
    }
    stage.job_once(&jobs[0], "a job that runs", |job| job["progress"]["percent"].is_number()).await;
    Broker::shared().await.close_all_connections(stage.vhost.name()).await;
    for id in &jobs {
        client.wait_state(id, "succeeded", LONG).await;
    }
    assert!(worker.poll().is_none(), "the same process");
    assert_eq!(example.effects().len(), 8);

    let mut last = Vec::new();
    for _ in 0..8 {
        last.push(client.accepted(KIND, &json!({"pages": 2, "seconds": 5})).await);
    }
    stage.job_once(&last[0], "a job that runs", |job| job["progress"]["percent"] == 50).await;
    assert_eq!(worker.terminate(LEAVING).await.code(), Some(0));
    let ended = until(LONG, "what ran to have ended", async || {
        let mut states = Vec::new();
        for id in &last {
            states.push(client.job(id).await.ok()?.state()?.to_owned());
        }
        (!states.contains(&"running".to_owned())).then_some(states)
    })
    .await;
    assert_eq!(ended.iter().filter(|state| *state == "succeeded").count(), 4, "{ended:?}");
    assert_eq!(stage.vhost.queue_depth(QUEUE).await, Some(4), "the rest waits for another worker");
}

#[tokio::test]
async fn the_python_worker_comes_back_and_drains() {
    comes_back_and_drains(Python).await;
}

#[tokio::test]
async fn the_node_worker_comes_back_and_drains() {
    comes_back_and_drains(Node).await;
}

/// What it reports goes on with the trace of the request, and is durable. Without a hub that reads them, reports stay where they are.
async fn continues_the_trace(language: Language) {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (stage, example) = (Stage::with("", &["api", "keeper"]).await, Example::new(language));
    let client = stage.client();
    let body = json!({"pages": 1, "seconds": 0});
    let request =
        client.request(reqwest::Method::POST, &format!("/v1/kinds/{KIND}/jobs")).header("traceparent", TRACE).json(&body);
    let id = client.send(request).await.unwrap().job_id().unwrap().to_owned();
    let _worker = example.start(&stage.vhost.url(), "tracer", 1);
    until_true(LONG, "three reports", async || stage.vhost.queue_depth("warren.results").await == Some(3)).await;
    let reports = stage.vhost.get_messages("warren.results", 3).await;
    let types: Vec<&str> = reports.iter().map(|report| report.properties["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["warren.started", "warren.progress", "warren.result"]);
    for report in &reports {
        assert_eq!((report.header("traceparent"), &report.properties["delivery_mode"]), (&json!(TRACE), &json!(2)));
        assert_eq!(report.message_id(), Some(format!("{id}/1/1").as_str()));
    }
}

#[tokio::test]
async fn the_python_worker_continues_the_trace() {
    continues_the_trace(Python).await;
}

#[tokio::test]
async fn the_node_worker_continues_the_trace() {
    continues_the_trace(Node).await;
}
