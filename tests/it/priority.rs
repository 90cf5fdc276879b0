//! Two classes from the door to the queue and back: windows, rungs, dead letters, redrives, and a kind that loses its second queue.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{HubClient, HubOptions, HubProcess, token};
use warren_tests::wait::{until, until_true};

use crate::world::{Keep, LONG, World, settled};

const KINDS: &str = r#"
[[kind]]
name = "test.window"
worker = "amqp"
window = 8
priority = "normal"

[[kind]]
name = "demo.echo"

[[kind]]
name = "demo.flaky"
priority = "normal"
retry = { delays = ["1s"], max_attempts = 2 }
"#;

async fn hub(world: &World, kinds: &str) -> HubProcess {
    let hub = HubProcess::start(&HubOptions { extra_toml: kinds.to_owned(), ..world.options() }).await;
    settled(&hub).await;
    hub
}

async fn submit(client: &HubClient, kind: &str, priority: &str) -> String {
    let request = client.request(Method::POST, &format!("/v1/kinds/{kind}/jobs")).header("warren-priority", priority);
    let answer = client.send(request.json(&json!({}))).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.job_id().unwrap().to_owned()
}

/// How many deliveries of a queue were run.
async fn runs(hub: &HubProcess, queue: &str) -> u32 {
    let metrics = HubClient::new(hub.internal_url(), None).get("/metrics").await.unwrap();
    let line = format!("warren_deliveries_total{{queue=\"{queue}\",verdict=\"run\"}} ");
    let text = String::from_utf8(metrics.bytes).unwrap();
    text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

async fn a_full_window_holds_no_high_job_back(keep: Keep) {
    let world = World::new(keep).await;
    let hub = hub(&world, KINDS).await;
    let client = hub.client();
    let depths = async || {
        let depth = async |queue| world.vhost.queue_depth(queue).await.unwrap();
        (depth("jobs.test.window").await, depth("jobs.test.window.high").await)
    };
    for _ in 0..30 {
        submit(&client, "test.window", "normal").await;
    }
    until_true(LONG, "the window to be full", async || depths().await.0 == 8).await;
    submit(&client, "test.window", "high").await;
    until_true(LONG, "the high job to be published", async || depths().await.1 == 1).await;
    for _ in 0..30 {
        submit(&client, "test.window", "high").await;
    }
    // Theirs is a quarter of the normal ones', and theirs alone.
    until_true(LONG, "the reserve to be full", async || depths().await == (8, 2)).await;
    let beyond = warren_tests::wait::within(Duration::from_secs(2), async || (depths().await != (8, 2)).then_some(()));
    assert!(beyond.await.is_none(), "{:?}", depths().await);
}

#[tokio::test]
async fn a_full_window_holds_no_high_job_back_on_postgres() {
    a_full_window_holds_no_high_job_back(Keep::Postgres).await;
}

#[tokio::test]
async fn a_full_window_holds_no_high_job_back_on_sqlite() {
    a_full_window_holds_no_high_job_back(Keep::Sqlite).await;
}

#[tokio::test]
async fn a_high_job_comes_back_to_its_own_queue_by_rung_and_by_redrive() {
    let world = World::new(Keep::Postgres).await;
    let hub = hub(&world, KINDS).await;
    let (client, admin) = (hub.client(), hub.admin());
    let (high, normal) = ("jobs.demo.flaky.high", "jobs.demo.flaky");
    assert_eq!(world.vhost.queue_depth("jobs.demo.flaky.high.dead").await, None, "both classes share one");

    // It fails twice, and has two attempts; the third comes with the redrive.
    let id = submit(&client, "demo.flaky", "high").await;
    let job = client.wait_state(&id, "dead", LONG).await;
    assert_eq!((&job["priority"], &job["reason"]), (&json!("high"), &json!("exhausted")));
    assert_eq!(runs(&hub, high).await, 2, "the rung brought it back there");
    let letter = until(LONG, "its dead letter", async || {
        let page = admin.get("/admin/dead-letters?kind=demo.flaky&state=open").await.ok()?.body;
        page["items"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!((&letter["queue"], &letter["job_id"]), (&json!(high), &json!(id)), "{letter}");
    let redrive = async |letter: &Value| {
        let path = format!("/admin/dead-letters/{}/redrive", letter["id"].as_str().unwrap());
        let answer = admin.send(admin.request(Method::POST, &path).json(&json!({"note": "again"}))).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    redrive(&letter).await;
    client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((runs(&hub, high).await, runs(&hub, normal).await), (3, 0));

    // What Warren did not give up itself is told by its key: the queue of origin is not in it otherwise.
    let tenant = json!({"warren-tenant": "acme"});
    let foreign = json!({"message_id": "stranger", "type": "demo.flaky", "delivery_mode": 2, "headers": tenant});
    assert!(world.vhost.publish("warren.dead", high, foreign, b"{}").await);
    let letter = until(LONG, "the stranger's letter", async || {
        let page = admin.get(&format!("/admin/dead-letters?queue={high}&state=open")).await.ok()?.body;
        page["items"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(letter["message_id"], "stranger", "{letter}");
}

#[tokio::test]
async fn an_edited_letter_makes_a_job_of_the_same_class() {
    let world = World::new(Keep::Postgres).await;
    let hub = hub(&world, KINDS).await;
    let (client, admin) = (hub.client(), hub.admin());
    let id = submit(&client, "demo.flaky", "high").await;
    client.wait_state(&id, "dead", LONG).await;
    let letter = until(LONG, "its dead letter", async || {
        let page = admin.get("/admin/dead-letters?kind=demo.flaky&state=open").await.ok()?.body;
        Some(page["items"].as_array()?.first()?["id"].as_str()?.to_owned())
    })
    .await;
    let request = admin.request(Method::POST, &format!("/admin/dead-letters/{letter}/edit?note=typo"));
    let answer = admin.send(request.body("{\"fixed\":true}")).await.unwrap();
    assert!(answer.status < 300, "{} {}", answer.status, answer.body);
    let made = answer.body["job_id"].as_str().unwrap().to_owned();
    let job = client.wait_state(&made, "dead", LONG).await;
    assert_eq!((&job["priority"], &job["edited_from"]), (&json!("high"), &json!(id)));
    assert_eq!(runs(&hub, "jobs.demo.flaky.high").await, 4);
}

#[tokio::test]
async fn high_jobs_of_a_kind_that_lost_its_second_queue_are_done_with_the_normal_ones() {
    let world = World::new(Keep::Postgres).await;
    let mut before = hub(&world, "[[kind]]\nname = \"demo.echo\"\npriority = \"high\"\n").await;
    let client = before.client();
    let path = |what: &str| format!("/admin/kinds/demo.echo/{what}");
    // A pause concerns all tenants.
    let ask = async |hub: &HubProcess, what: &str| {
        let admin = HubClient::new(hub.admin_url(), Some(token("*", "olga", "jobs:admin")));
        let answer = admin.send(admin.request(Method::POST, &path(what)).json(&json!({"note": "a test"}))).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    ask(&before, "pause").await;
    until_true(LONG, "the pause to be seen", async || client.get("/v1/kinds/demo.echo").await.unwrap().body["paused"] == true)
        .await;
    let id = client.accepted("demo.echo", &json!({"n": 1})).await;
    assert_eq!(client.job(&id).await.unwrap().body["priority"], "high", "the kind's own class");
    before.terminate(LONG).await;

    let after = hub(&world, "[[kind]]\nname = \"demo.echo\"\n").await;
    ask(&after, "resume").await;
    let job = after.client().wait_state(&id, "succeeded", LONG).await;
    assert_eq!(job["priority"], "high");
    assert_eq!((runs(&after, "jobs.demo.echo").await, world.vhost.queue_depth("jobs.demo.echo.high").await), (1, Some(0)));
}

#[tokio::test]
async fn a_lost_high_job_is_published_again_while_normal_ones_wait() {
    let world = World::new(Keep::Sqlite).await;
    let kind = "[[kind]]\nname = \"test.lost\"\nworker = \"amqp\"\npriority = \"normal\"\ntimeout = \"100ms\"\n\
                retry = { delays = [\"1s\"], max_attempts = 2 }\n";
    let hub = hub(&world, kind).await;
    let depths = async || {
        (world.vhost.queue_depth("jobs.test.lost").await.unwrap(), world.vhost.queue_depth("jobs.test.lost.high").await.unwrap())
    };
    for priority in ["normal", "high"] {
        submit(&hub.client(), "test.lost", priority).await;
    }
    until_true(LONG, "both to be published", async || depths().await == (1, 1)).await;
    world.vhost.purge("jobs.test.lost.high").await;
    until_true(LONG, "the high job to be published again", async || depths().await.1 == 1).await;
    assert_eq!(depths().await, (1, 1), "the normal one is where it was");
}
