//! The private node of `warren dev`, with the RabbitMQ this machine has; without one these tests fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use warren_hub::dev::{DevError, Node, Options, Ports, State};

/// How long anything here may take before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(folder: &Path, first_port: u16) -> Options {
    let ports = Ports { amqp: first_port, management: first_port + 1, dist: first_port + 2, epmd: first_port + 3 };
    let search_path = std::env::var_os("PATH").unwrap();
    Options { ports, search_path, ..Options::new(folder) }
}

fn answers(port: u16) -> bool {
    let frame = || -> std::io::Result<[u8; 1]> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first)
    };
    frame().is_ok_and(|first| first == [1])
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn running(node: &Node) -> u32 {
    match *node.state().borrow() {
        State::Running(pid) => pid,
        other => panic!("{other:?}"),
    }
}

fn kill_hard(pid: u32) {
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
}

/// Every process that was started for a node in `folder`: its environment says so.
fn left_of(folder: &Path) -> Vec<String> {
    let ours = folder.join(".warren").display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let about = |path: &Path| {
        let environment = String::from_utf8_lossy(&std::fs::read(path.join("environ")).ok()?).into_owned();
        environment.contains(&ours).then(|| std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned())
    };
    entries.filter_map(|path| about(&path)).collect()
}

async fn nothing_is_left(folder: &Path) {
    // Erlang's own helpers notice a moment later that their node is gone.
    until("all processes of the node are gone", async || left_of(folder).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_comes_back_after_a_kill_and_leaves_nothing_behind() {
    let folder = tempfile::Builder::new().prefix("a folder ").tempdir().unwrap();
    let node = Node::start(options(folder.path(), 22000)).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(node.amqp_url(), "amqp://guest:guest@127.0.0.1:22000/%2f");
    assert!(answers(22000));
    let (http, api) = (reqwest::Client::new(), format!("{}/api", node.management_url()));
    let overview = http.get(format!("{api}/overview")).basic_auth("guest", Some("guest"));
    let overview: serde_json::Value = overview.send().await.unwrap().json().await.unwrap();
    assert_eq!(overview["node"], "warren@localhost");
    assert!(left_of(folder.path()).contains(&"epmd".to_owned()));

    let second = Node::start(options(folder.path(), 22010)).await.expect_err("the folder is locked");
    assert!(matches!(second, DevError::Locked { .. }), "{second}");
    let elsewhere = tempfile::tempdir().unwrap();
    let taken = Node::start(options(elsewhere.path(), 22000)).await.expect_err("the ports are taken").to_string();
    assert!(taken.starts_with("port 22000 (AMQP) is taken by ") && taken.contains("--amqp-port"), "{taken}");

    for _ in 0..2 {
        let (before, mut state) = (running(&node), node.state());
        state.mark_unchanged();
        kill_hard(before);
        let again = |state: &State| matches!(state, State::Running(pid) if *pid != before);
        tokio::time::timeout(PATIENCE, state.wait_for(again)).await.expect("it comes back").unwrap();
        assert!(answers(22000));
    }

    let queue = format!("{api}/queues/%2f/kept");
    let declared =
        http.put(&queue).basic_auth("guest", Some("guest")).json(&serde_json::json!({ "durable": true })).send().await.unwrap();
    assert!(declared.status().is_success());

    node.stop().await;
    assert!(!answers(22000));
    nothing_is_left(folder.path()).await;

    let node = Node::start(options(folder.path(), 22000)).await.unwrap_or_else(|error| panic!("{error}"));
    until("the data is kept", async || {
        let asked = http.get(&queue).basic_auth("guest", Some("guest")).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    node.stop().await;
    nothing_is_left(folder.path()).await;
    assert!(!folder.path().join(".warren/rabbitmq/node.pid").exists());
}

/// Not a test by itself: the process that the next test kills. It runs a node until then.
#[tokio::test(flavor = "multi_thread")]
async fn hold_a_node_for_another_test() {
    let Some(folder) = std::env::var_os("WARREN_TEST_HOLD") else { return };
    let node = Node::start(options(Path::new(&folder), 22020)).await.unwrap_or_else(|error| panic!("{error}"));
    println!("holding {}", running(&node));
    std::future::pending::<()>().await;
}

/// Starts a node in a process of its own and ends that process as `kill -9` does; returns the broker's pid.
fn left_by_a_killed_hub(folder: &Path) -> u32 {
    let mut hub = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_a_node_for_another_test", "--nocapture"])
        .env("WARREN_TEST_HOLD", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(hub.stdout.take().unwrap()).lines().map_while(Result::ok);
    let broker = lines.filter_map(|line| line.split_once("holding ")?.1.trim().parse().ok()).next().expect("it starts a node");
    hub.kill().unwrap();
    hub.wait().unwrap();
    broker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_left_by_a_killed_hub_is_adopted_or_ended() {
    let folder = tempfile::tempdir().unwrap();
    let left = left_by_a_killed_hub(folder.path());
    assert!(answers(22020), "kill -9 of the hub does not reach the node");

    let node = Node::start(options(folder.path(), 22020)).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(running(&node), left, "the same node goes on");

    // An adopted node is watched like a child.
    let mut state = node.state();
    kill_hard(left);
    let again = |state: &State| matches!(state, State::Running(pid) if *pid != left);
    tokio::time::timeout(PATIENCE, state.wait_for(again)).await.expect("it comes back").unwrap();
    node.stop().await;
    nothing_is_left(folder.path()).await;

    // One that does not fit what is wanted now is ended, and makes room.
    let left = left_by_a_killed_hub(folder.path());
    let node = Node::start(options(folder.path(), 22030)).await.unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(running(&node), left);
    assert!(!answers(22020) && answers(22030));

    // Dropped without a word, it ends too.
    drop(node);
    nothing_is_left(folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_cut_short_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let start = tokio::spawn(Node::start(options(folder.path(), 22060)));
    until("the broker is being started", async || left_of(folder.path()).contains(&"beam.smp".to_owned())).await;
    start.abort();
    assert!(start.await.unwrap_err().is_cancelled(), "it had not answered yet");
    nothing_is_left(folder.path()).await;
}

#[tokio::test]
async fn what_is_in_the_way_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = TcpListener::bind("127.0.0.1:22041").unwrap();
    let taken = Node::start(options(folder.path(), 22040)).await.expect_err("22041 is taken").to_string();
    assert!(taken.contains("port 22041 (RabbitMQ management) is taken") && taken.contains("--management-port"), "{taken}");
    let none = Options { rabbitmq_home: Some(folder.path().to_owned()), ..options(folder.path(), 22050) };
    let none = Node::start(none).await.expect_err("no RabbitMQ there").to_string();
    assert!(none.contains("there is no RabbitMQ in "), "{none}");

    // A broker that cannot run: its own last words are passed on, and nothing is left running.
    std::fs::create_dir(folder.path().join("sbin")).unwrap();
    let script = folder.path().join("sbin/rabbitmq-server");
    std::fs::write(&script, "#!/bin/sh\necho no license to run\nexit 3\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let broken = Options { rabbitmq_home: Some(folder.path().to_owned()), ..options(folder.path(), 22050) };
    let broken = Node::start(broken).await.expect_err("it ends at once").to_string();
    assert!(broken.contains("(exit status: 3)") && broken.ends_with("whose last line is `no license to run`"), "{broken}");
    nothing_is_left(folder.path()).await;
    for sentence in [taken, none, broken] {
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
}
