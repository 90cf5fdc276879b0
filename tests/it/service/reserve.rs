//! `shop inventory` as a process: every outcome, and `kill -9` between effect, report and ack.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use messaging::results::{JobResult, Reported};
use serde_json::{Value, json};
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary};
use warren_tests::wait::until_true;

use super::{LONG, Stage};

const QUEUE: &str = "jobs.inventory.reserve";

fn shop(stage: &Stage, crash: Option<&str>) -> Process {
    let mut command = Command::new(binary("shop"));
    command.args(["inventory", "--prefetch", "32", "--concurrency", "8", "--grace", "5s", "--log-format", "json"]);
    command.env("AMQP_URL", stage.vhost.url()).env("DATABASE_URL", &stage.database);
    if let Some(point) = crash {
        command.env("WARREN_CRASH_POINT", point);
    }
    Process::start("shop", command)
}

async fn submit(stage: &Stage, id: &str, body: &[u8]) {
    submit_as(stage, id, 1, body).await;
}

async fn submit_as(stage: &Stage, id: &str, attempt: i32, body: &[u8]) {
    let headers = json!({"warren-epoch": 1, "warren-attempt": attempt});
    let properties = json!({"message_id": id, "type": "inventory.reserve", "delivery_mode": 2, "headers": headers});
    assert!(stage.vhost.publish("warren.jobs", "inventory.reserve", properties, body).await, "{id} was not routed");
}

fn order(sku: &str, quantity: i64) -> Vec<u8> {
    serde_json::to_vec(&json!({"order_id": "o-1", "sku": sku, "quantity": quantity})).unwrap()
}

/// Takes results until every job of `jobs` has one.
async fn results(stage: &Stage, jobs: &BTreeSet<String>) -> BTreeMap<String, Vec<JobResult>> {
    let found = tokio::sync::Mutex::new(BTreeMap::<String, Vec<JobResult>>::new());
    let what = format!("results of {} jobs", jobs.len());
    until_true(LONG, &what, async || {
        let mut found = found.lock().await;
        for message in stage.vhost.get_messages("warren.results", 500).await {
            assert_eq!(message.properties["type"], "warren.result");
            assert_eq!(message.properties["content_type"], "application/json");
            let result = JobResult::decode(&message.body).unwrap();
            found.entry(result.job.clone()).or_default().push(result);
        }
        jobs.iter().all(|job| found.contains_key(job))
    })
    .await;
    found.into_inner()
}

fn names(jobs: &[&str]) -> BTreeSet<String> {
    jobs.iter().map(|job| (*job).to_owned()).collect()
}

async fn ready(stage: &Stage) {
    until_true(LONG, "shop to consume", async || stage.vhost.consumers(QUEUE).await.is_some_and(|n| n > 0)).await;
}

#[tokio::test]
async fn every_outcome_is_reported_and_stock_never_goes_below_zero() {
    let stage = Stage::set().await;
    inventory::migrate(&stage.pool).await.unwrap();
    inventory::stock::set(&stage.pool, "tea", 3).await.unwrap();
    let mut shop = shop(&stage, None);
    ready(&stage).await;

    submit(&stage, "two", &order("tea", 2)).await;
    submit(&stage, "two", &order("tea", 2)).await;
    let first = results(&stage, &names(&["two"])).await;
    submit(&stage, "more", &order("tea", 2)).await;
    submit(&stage, "unknown", &order("coffee", 1)).await;
    submit(&stage, "broken", b"\xff not json").await;
    submit(&stage, "zero", &order("tea", 0)).await;
    let rest = results(&stage, &names(&["more", "unknown", "broken", "zero"])).await;

    let two = &first["two"][0];
    assert_eq!((two.outcome, two.worker.as_str(), two.run().attempt), (Reported::Succeeded, "inventory", 1));
    let made: Value = serde_json::from_str(two.result.as_ref().unwrap().get()).unwrap();
    assert_eq!(made, json!({"order_id": "o-1", "sku": "tea", "quantity": 2, "available": 1}));
    for (job, code) in [("more", "out-of-stock"), ("unknown", "unknown-sku"), ("broken", "undecodable"), ("zero", "undecodable")]
    {
        let result = &rest[job][0];
        assert_eq!((result.outcome, result.failure.as_ref().unwrap().code.as_str()), (Reported::Rejected, code), "{job}");
    }
    assert_eq!(stage.count("SELECT available FROM stock").await, 1);
    assert_eq!(stage.count("SELECT count(*) FROM reservations").await, 1);

    let status = shop.terminate(Duration::from_secs(15)).await;
    assert!(status.success(), "{status}");
    assert_eq!(stage.vhost.queue_depth(QUEUE).await, Some(0));
    assert_eq!(stage.count("SELECT count(*) FROM warren_starts").await, 0);
    assert_eq!(stage.count("SELECT count(*) FROM warren_processes").await, 0);
}

/// K5: committed, the report on its way. K8: half-way through the transaction. K9: reported, not acked. K10: acked.
#[tokio::test]
async fn killed_anywhere_it_reserves_once_and_reports_every_job() {
    for point in ["K5:3", "K8:5", "K9", "K10"] {
        let stage = Stage::set().await;
        inventory::migrate(&stage.pool).await.unwrap();
        inventory::stock::set(&stage.pool, "tea", 1000).await.unwrap();
        let mut doomed = shop(&stage, Some(point));
        ready(&stage).await;
        let mut jobs = BTreeSet::new();
        for number in 0..40 {
            let id = format!("job-{number}");
            submit(&stage, &id, &order("tea", 1)).await;
            jobs.insert(id);
        }
        doomed.wait(LONG).await;
        assert!(doomed.was_killed(), "{point}: {}", doomed.tail());

        let mut second = shop(&stage, None);
        let reported = results(&stage, &jobs).await;
        for (job, results) in &reported {
            assert!(results.iter().all(|result| result.outcome == Reported::Succeeded), "{point} {job}: {results:?}");
        }
        until_true(LONG, "every delivery to be settled", async || {
            stage.count("SELECT count(*) FROM warren_starts").await == 0 && stage.vhost.queue_depth(QUEUE).await == Some(0)
        })
        .await;
        assert_eq!(stage.count("SELECT count(*) FROM reservations").await, 40, "{point}");
        assert_eq!(stage.count("SELECT available FROM stock").await, 960, "{point}");
        assert!(second.terminate(Duration::from_secs(15)).await.success(), "{point}");
    }
}

#[tokio::test]
async fn two_processes_and_every_message_twice_reserve_once() {
    let stage = Stage::set().await;
    inventory::migrate(&stage.pool).await.unwrap();
    inventory::stock::set(&stage.pool, "tea", 100).await.unwrap();
    let mut shops = [shop(&stage, None), shop(&stage, None)];
    until_true(LONG, "both to consume", async || stage.vhost.consumers(QUEUE).await == Some(2)).await;
    let mut jobs = BTreeSet::new();
    for number in 0..30 {
        let id = format!("job-{number}");
        for _ in 0..2 {
            submit(&stage, &id, &order("tea", 1)).await;
        }
        jobs.insert(id);
    }
    results(&stage, &jobs).await;
    for shop in &mut shops {
        assert!(shop.terminate(Duration::from_secs(15)).await.success());
    }
    assert_eq!(stage.count("SELECT count(*) FROM reservations").await, 30);
    assert_eq!(stage.count("SELECT available FROM stock").await, 70);
}

/// The test stands in for the hub: an attempt that failed is followed by the next.
#[tokio::test]
async fn a_database_that_dies_under_load_costs_attempts_and_no_effect() {
    let postgres = Postgres::dedicated().await;
    let stage = Stage::on(&postgres).await;
    inventory::migrate(&stage.pool).await.unwrap();
    inventory::stock::set(&stage.pool, "tea", 500).await.unwrap();
    let mut shop = shop(&stage, None);
    ready(&stage).await;
    let mut open = BTreeSet::new();
    for number in 0..200 {
        let id = format!("job-{number}");
        submit(&stage, &id, &order("tea", 1)).await;
        open.insert(id);
        if number == 100 {
            postgres.kill_immediate().await;
        }
    }
    postgres.start_again().await;
    let open = tokio::sync::Mutex::new(open);
    until_true(LONG, "every job to succeed", async || {
        let mut open = open.lock().await;
        for message in stage.vhost.get_messages("warren.results", 500).await {
            let result = JobResult::decode(&message.body).unwrap();
            match result.outcome {
                Reported::Succeeded => drop(open.remove(&result.job)),
                Reported::Failed => submit_as(&stage, &result.job, result.attempt + 1, &order("tea", 1)).await,
                other => panic!("{other:?}: {result:?}"),
            }
        }
        open.is_empty()
    })
    .await;
    assert!(shop.terminate(Duration::from_secs(15)).await.success(), "{}", shop.tail());
    assert_eq!(stage.count("SELECT count(*) FROM reservations").await, 200);
    assert_eq!(stage.count("SELECT available FROM stock").await, 300);
    assert_eq!(stage.count("SELECT count(*) FROM warren_starts").await, 0);
}

#[tokio::test]
async fn without_a_broker_it_waits_and_still_drains() {
    let stage = Stage::set().await;
    let mut command = Command::new(binary("shop"));
    command.arg("all").env("AMQP_URL", "amqp://u:canary@127.0.0.1:1").env("DATABASE_URL", &stage.database);
    let mut shop = Process::start("shop", command);
    until_true(LONG, "a first try", async || shop.stderr().contains("no broker at")).await;
    assert!(!shop.stderr().contains("canary"), "{}", shop.stderr());
    assert!(shop.terminate(Duration::from_secs(5)).await.success(), "{}", shop.tail());
}

#[tokio::test]
async fn shop_says_what_is_wrong_and_exits_as_documented() {
    let stage = Stage::set().await;
    let run = async |arguments: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(binary("shop"));
        command.args(arguments).env_remove("AMQP_URL").env_remove("DATABASE_URL").envs(env.iter().copied());
        let mut process = Process::start("shop", command);
        let code = process.wait(LONG).await.code();
        (code, process.stdout(), process.stderr())
    };
    let database = [("DATABASE_URL", stage.database.as_str())];
    assert_eq!(run(&["migrate"], &database).await.0, Some(0));
    assert_eq!(run(&["stock", "set", "tea", "7"], &database).await.0, Some(0));
    let (_, listed, _) = run(&["stock", "list", "--json"], &database).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed, json!([{"sku": "tea", "available": 7, "reserved": 0}]));

    let away = [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x"), ("AMQP_URL", "amqp://127.0.0.1:1")];
    let (code, _, why) = run(&["inventory"], &away).await;
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("check --database-url"), "{why}");
    for (arguments, says) in [
        (vec!["inventory", "--amqp-url", "http://h", "--database-url", &stage.database], "http://h"),
        (vec!["inventory", "--amqp-url", "amqp://h", "--database-url", "not a url"], "--database-url"),
        (
            vec!["inventory", "--amqp-url", "amqp://h", "--database-url", &stage.database, "--timeout", "20m"],
            "lower the prefetch",
        ),
        (vec!["inventory"], "--amqp-url"),
    ] {
        let (code, _, why) = run(&arguments, &[]).await;
        assert_eq!(code, Some(2), "{arguments:?}: {why}");
        assert!(why.contains(says), "{arguments:?}: {why}");
    }
}
