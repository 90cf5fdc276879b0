use warren_tests::broker::Broker;
use warren_tests::process::{Process, folder};
use warren_tests::wait::until_true;

use super::{Ran, command, junit, payloads, run, script};
use crate::workers::examples::{Example, Language, tool};
use crate::world::LONG;

const ALL: [&str; 10] =
    ["normal", "duplicate", "slow", "progress", "retry", "poison", "oversize", "late-result", "crash-and-restart", "drain"];

/// The whole of the kit, with every payload.
async fn whole(url: &str, folder: &std::path::Path, worker: &[String], more: &[&str]) -> Ran {
    let payloads = payloads();
    let mut arguments = vec!["amqp", "reports.build", "--amqp-url", url, "--json", "--junit", "junit.xml", "--timeout", "15s"];
    arguments.extend(payloads.iter().map(String::as_str));
    arguments.extend(more);
    run(folder, &arguments, worker).await
}

async fn passes(language: Language) {
    let (vhost, example) = (Broker::shared().await.vhost().await, Example::new(language));
    let ran = whole(&vhost.url(), example.folder.path(), &example.words(), &[]).await;
    assert_eq!((ran.code, ran.cases("pass")), (Some(0), ALL.map(str::to_owned).to_vec()), "{ran}");
    assert_eq!(junit(&example.folder.path().join("junit.xml")), ALL);
    for queue in ["jobs.reports.build", "jobs.reports.build.dead", "warren.results", "warren.lost"] {
        assert_eq!(vhost.queue_depth(queue).await, Some(0), "{queue}");
    }
}

#[tokio::test]
async fn the_python_example_passes() {
    passes(Language::Python).await;
}

#[tokio::test]
async fn the_node_example_passes() {
    passes(Language::Node).await;
}

fn sloppy() -> Vec<String> {
    vec![tool("worker-python/bin/python").display().to_string(), script("sloppy_worker.py")]
}

#[tokio::test]
async fn a_sloppy_worker_fails_what_it_should_and_nothing_else() {
    let (vhost, folder) = (Broker::shared().await.vhost().await, folder("sloppy"));
    let ran = whole(&vhost.url(), folder.path(), &sloppy(), &["--grace", "2s"]).await;
    let failed = ["retry", "poison", "oversize", "crash-and-restart", "drain"];
    assert_eq!((ran.code, ran.cases("fail")), (Some(1), failed.map(str::to_owned).to_vec()), "{ran}");
    assert!(ran.reason("retry").contains("that of attempt 1"), "{ran}");
    assert!(ran.reason("poison").contains("ended (exit status: 3)"), "{ran}");
    assert!(ran.reason("oversize").contains("at most are kept"), "{ran}");
    assert!(ran.reason("crash-and-restart").contains("ack only once"), "{ran}");
    assert!(ran.reason("drain").contains("after SIGTERM"), "{ran}");
    let junit = junit(&folder.path().join("junit.xml"));
    let expected: Vec<String> =
        ALL.iter().map(|case| if failed.contains(case) { format!("{case} failure") } else { (*case).to_owned() }).collect();
    assert_eq!(junit, expected);
    assert_eq!(vhost.queue_depth("jobs.reports.build").await, Some(0), "what it left is taken away");
}

/// Without a command, and without payloads, what can be run is run; the rest says what would let it.
#[tokio::test]
async fn what_cannot_be_run_is_told_with_an_exit_code_of_its_own() {
    let (vhost, example) = (Broker::shared().await.vhost().await, Example::new(Language::Python));
    let url = vhost.url();
    // Declares what the worker consumes.
    let first =
        run(example.folder.path(), &["amqp", "reports.build", "--amqp-url", &url, "--case", "slow"], &["true".to_owned()]).await;
    assert_eq!(first.code, Some(3), "{first}");
    assert!(first.stdout.contains("not run  slow") && first.stdout.contains("--payload slow=FILE"), "{first}");
    let words = example.words();
    let mut worker = std::process::Command::new(&words[0]);
    worker.args(&words[1..]).current_dir(example.folder.path()).env("AMQP_URL", &url);
    let _worker = Process::start("worker", worker);
    until_true(LONG, "the worker to consume", async || vhost.consumers("jobs.reports.build").await == Some(1)).await;
    let ran = run(example.folder.path(), &["amqp", "reports.build", "--amqp-url", &url, "--json"], &[]).await;
    assert_eq!((ran.code, ran.cases("fail")), (Some(3), Vec::new()), "{ran}");
    assert_eq!(ran.cases("pass"), ["normal", "duplicate", "poison", "late-result"], "{ran}");
    for case in ["slow", "progress", "retry", "oversize"] {
        assert!(ran.reason(case).contains(&format!("--payload {case}=FILE")), "{case}: {ran}");
    }
    for case in ["crash-and-restart", "drain"] {
        assert!(ran.reason(case).contains("after `--`"), "{case}: {ran}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_worker_too() {
    let (vhost, folder) = (Broker::shared().await.vhost().await, folder("interrupted"));
    let url = vhost.url();
    let worker = ["sh", "-c", "trap '' TERM INT; sleep 1000 & echo $! > pid; wait"].map(str::to_owned);
    let mut kit = Process::start("conformance", command(folder.path(), &["amqp", "reports.build", "--amqp-url", &url], &worker));
    let pid = folder.path().join("pid");
    let read = || std::fs::read_to_string(&pid).ok()?.trim().parse::<i32>().ok();
    until_true(LONG, "the worker to run", async || read().is_some()).await;
    kit.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(kit.wait(LONG).await.code(), Some(130), "{}", kit.stderr());
    let state = std::fs::read_to_string(format!("/proc/{}/stat", read().unwrap())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "what it left in its group is gone: {state}");
    assert_eq!(vhost.queue_depth("jobs.reports.build").await, Some(0), "what nobody did is taken away");
}
