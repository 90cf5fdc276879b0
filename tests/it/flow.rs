//! The main job on real input: accept, 202, handler, status; retries, dead letters, redrive.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::Broker;
use warren_tests::hub::{ALL_SCOPES, HubClient, HubOptions, HubProcess, token};
use warren_tests::wait::{until, until_true};

use crate::world::{Keep, LONG, RESERVE, World, run_tokens, settled, token_of};

/// Short rungs and few attempts, so that a job is exhausted within seconds.
const IMPATIENT: &str = r#"
[[kind]]
name = "test.impatient"
worker = "amqp"
retry = { delays = ["1s"], max_attempts = 2 }
"#;

fn all_tenants(hub: &HubProcess) -> HubClient {
    HubClient::new(hub.admin_url(), Some(token("*", "operator", ALL_SCOPES)))
}

async fn post(client: &HubClient, path: &str, body: Value) -> warren_tests::hub::Answer {
    client.send(client.request(Method::POST, path).json(&body)).await.unwrap()
}

/// Open dead letters that match, once there are `count` of them.
async fn dead_letters(admin: &HubClient, query: &str, count: usize) -> Vec<Value> {
    until(LONG, &format!("{count} dead letters ({query})"), async || {
        let items = admin.get(&format!("/admin/dead-letters?{query}&limit=500")).await.ok()?.body["items"].as_array()?.clone();
        assert!(items.len() <= count, "more dead letters than deaths: {items:?}");
        (items.len() == count).then_some(items)
    })
    .await
}

async fn echo_and_flaky(keep: Keep) {
    let world = World::new(keep).await;
    let mut hub = world.hub().await;
    let client = hub.client();
    let payload = json!({"hello": "wörld", "n": 1});
    let id = client.accepted("demo.echo", &payload).await;
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&job["result"], &job["attempt"], &job["kind"]), (&payload, &json!(1), &json!("demo.echo")));

    let id = client.accepted("demo.flaky", &json!({})).await;
    let job = client.wait_state(&id, "succeeded", LONG).await;
    let outcomes: Vec<&str> = job["attempts"].as_array().unwrap().iter().map(|a| a["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["failed", "failed", "succeeded"], "{job}");
    let this = format!(":{}", hub.process().pid());
    for attempt in job["attempts"].as_array().unwrap() {
        assert!(attempt["worker"].as_str().unwrap().ends_with(&this), "who ran it is on record: {job}");
    }
}

#[tokio::test]
async fn a_job_runs_and_a_flaky_one_is_retried_on_sqlite() {
    echo_and_flaky(Keep::Sqlite).await;
}

#[tokio::test]
async fn a_job_runs_and_a_flaky_one_is_retried_on_postgres() {
    echo_and_flaky(Keep::Postgres).await;
}

#[tokio::test]
async fn a_service_does_the_work_and_reports() {
    let world = World::new(Keep::Sqlite).await;
    let hub = world.hub().await;
    let _shop = world.shop(None);
    let client = hub.client();
    let id = client.accepted(RESERVE, &json!({"order_id": "o-1", "sku": "tea", "quantity": 2})).await;
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!(job["result"]["sku"], "tea", "{job}");
    assert_eq!(job["attempts"][0]["worker"], "inventory", "{job}");
    let reserved: i64 = sqlx::query_scalar("SELECT count(*) FROM reservations").fetch_one(&world.shop_pool).await.unwrap();
    assert_eq!(reserved, 1);
    // What the handler turns down is a dead letter with its reason, at once.
    let id = client.accepted(RESERVE, &json!({"order_id": "o-2", "sku": "unicorn", "quantity": 1})).await;
    let job = client.wait_state(&id, "dead", LONG).await;
    assert_eq!((&job["reason"], &job["attempt"]), (&json!("rejected"), &json!(1)), "{job}");
    assert!(job["error"].as_str().unwrap().contains("unknown-sku"), "{job}");
    let letters = dead_letters(&hub.admin(), "reason=rejected", 1).await;
    assert_eq!(letters[0]["job_id"], json!(id), "{letters:?}");
}

/// Nobody consumes `test.impatient`: the test is its worker.
#[tokio::test]
async fn a_dead_letter_is_redriven_once_and_keeps_its_bytes() {
    let world = World::new(Keep::Sqlite).await;
    let options = HubOptions { extra_toml: format!("{}{IMPATIENT}", world.options().extra_toml), ..world.options() };
    let hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let (client, admin) = (hub.client(), hub.admin());
    let payload = json!({"note": "\u{0} and ü survive"});
    let id = client.accepted("test.impatient", &payload).await;
    let queue = "jobs.test.impatient";
    for attempt in 1..=2 {
        let message = take(&world, queue).await;
        assert_eq!(message.header("warren-attempt"), &json!(attempt));
        report(&world, &hub, &id, 1, attempt, "failed").await;
    }
    let job = client.wait_state(&id, "dead", LONG).await;
    assert_eq!((&job["reason"], &job["attempt"]), (&json!("exhausted"), &json!(2)), "{job}");
    let letters = dead_letters(&admin, "kind=test.impatient", 1).await;
    let letter = letters[0]["id"].as_str().unwrap().to_owned();
    let body = admin.get(&format!("/admin/dead-letters/{letter}/body")).await.unwrap();
    assert_eq!(body.bytes, serde_json::to_vec(&payload).unwrap(), "the exact bytes");

    let path = format!("/admin/dead-letters/{letter}/redrive");
    let (first, second) = tokio::join!(post(&admin, &path, json!({"note": "a"})), post(&admin, &path, json!({"note": "b"})));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "two at once: one moves it, {:?} {:?}", first.body, second.body);

    let message = take(&world, queue).await;
    assert_eq!((message.header("warren-epoch"), message.header("warren-attempt")), (&json!(2), &json!(3)));
    assert_eq!(message.message_id(), Some(id.as_str()), "the same message id");
    assert_eq!(message.body, serde_json::to_vec(&payload).unwrap());
    // A late result of the first life changes nothing, and is on record.
    report(&world, &hub, &id, 1, 2, "succeeded").await;
    report(&world, &hub, &id, 2, 3, "succeeded").await;
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&job["epoch"], &job["attempt"]), (&json!(2), &json!(3)), "{job}");
    assert!(job["attempts"].as_array().unwrap().iter().any(|a| a["outcome"] == "late"), "{job}");
    assert_eq!(world.vhost.queue_depth(queue).await, Some(0), "brought back once");
}

/// Takes the next message of a queue, as a worker would.
async fn take(world: &World, queue: &str) -> warren_tests::broker::Message {
    until(LONG, &format!("a message in {queue}"), async || {
        // A look first: the hub may be declaring it still.
        world.vhost.queue_depth(queue).await.filter(|ready| *ready > 0)?;
        world.vhost.get_messages(queue, 1).await.into_iter().next()
    })
    .await
}

/// Reports an outcome, as a worker would.
async fn report(world: &World, hub: &HubProcess, job: &str, epoch: i32, attempt: i32, outcome: &str) {
    let failure = (outcome != "succeeded").then(|| json!({"code": "boom", "message": "as the test wants it"}));
    let token = token_of(&run_tokens(hub, &world.store_url).await, job, epoch, attempt);
    let body = json!({
        "job": job, "epoch": epoch, "attempt": attempt, "token": token, "outcome": outcome, "failure": failure,
        "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z", "worker": "test",
    });
    let properties = json!({"message_id": format!("{job}/{epoch}/{attempt}"), "type": "warren.result", "delivery_mode": 2});
    assert!(world.vhost.publish("warren.results", "warren.results", properties, body.to_string().as_bytes()).await);
}

/// As after a worker that reports, cannot ack, and reports again: all copies wait for the hub, and come in one batch.
#[tokio::test]
async fn thirty_copies_of_a_report_are_one_end() {
    let world = World::new(Keep::Sqlite).await;
    let options = HubOptions { extra_toml: format!("{}{IMPATIENT}", world.options().extra_toml), ..world.options() };
    let mut hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let id = hub.client().accepted("test.impatient", &json!({})).await;
    let queue = "jobs.test.impatient";
    take(&world, queue).await;
    hub.kill9();
    for _ in 0..30 {
        report(&world, &hub, &id, 1, 1, "failed").await;
    }
    hub.start_again_with(&[]).await;
    let message = take(&world, queue).await;
    assert_eq!(message.header("warren-attempt"), &json!(2));
    report(&world, &hub, &id, 1, 2, "succeeded").await;
    let job = hub.client().wait_state(&id, "succeeded", LONG).await;
    assert_eq!(job["attempt"], 2, "{job}");
    for queue in [queue, "warren.results"] {
        until_true(LONG, &format!("{queue} to be empty"), async || world.vhost.queue_depth(queue).await == Some(0)).await;
    }
}

#[tokio::test]
async fn retries_whose_queue_is_gone_are_kept_and_others_are_on_time() {
    let world = World::new(Keep::Postgres).await;
    let options = HubOptions { extra_toml: format!("{}{IMPATIENT}", world.options().extra_toml), ..world.options() };
    let hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let (client, admin) = (hub.client(), hub.admin());
    let queue = "jobs.test.impatient";
    let mut jobs = Vec::new();
    for n in 0..40 {
        jobs.push(client.accepted("test.impatient", &json!({"n": n})).await);
    }
    until_true(LONG, "40 messages to be queued", async || world.vhost.queue_depth(queue).await == Some(40)).await;
    world.vhost.delete_queue(queue).await;
    // Forty retries enter the rung; their queue is gone when they leave it.
    for id in &jobs {
        report(&world, &hub, id, 1, 1, "failed").await;
    }
    let letters = dead_letters(&admin, "reason=origin-gone", 40).await;
    assert!(letters.iter().all(|letter| letter["queue"] == queue), "{letters:?}");
    // The same rung serves others on time: a flaky job needs 1 s and 5 s.
    let clock = std::time::Instant::now();
    let id = client.accepted("demo.flaky", &json!({})).await;
    client.wait_state(&id, "succeeded", LONG).await;
    assert!(clock.elapsed() < Duration::from_secs(15), "a flaky job took {:?}", clock.elapsed());
    for id in &jobs {
        let job = client.job(id).await.unwrap().body;
        assert_eq!((&job["state"], &job["reason"]), (&json!("dead"), &json!("origin-gone")), "{job}");
    }
    // With the queue back, a redrive brings each back, once.
    let arguments = json!({
        "x-queue-type": "quorum", "x-dead-letter-exchange": "warren.dead", "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish", "x-delivery-limit": 100,
    });
    world.vhost.declare_queue(queue, arguments).await;
    world.vhost.bind("warren.return", queue, queue).await;
    for letter in &letters {
        let answer = post(&admin, &format!("/admin/dead-letters/{}/redrive", letter["id"].as_str().unwrap()), json!({})).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    until_true(LONG, "40 messages to be back", async || world.vhost.queue_depth(queue).await == Some(40)).await;
}

#[tokio::test]
async fn a_result_that_is_too_large_is_not_kept_and_the_job_succeeds() {
    let world = World::new(Keep::Sqlite).await;
    let hub = world.hub().await;
    let client = hub.client();
    let (fits, exceeds) = (json!("x".repeat(64 * 1024 - 2)), json!("x".repeat(64 * 1024 - 1)));
    let id = client.accepted("demo.echo", &fits).await;
    assert_eq!(client.wait_state(&id, "succeeded", LONG).await["result"], fits);
    let id = client.accepted("demo.echo", &exceeds).await;
    assert!(client.wait_state(&id, "succeeded", LONG).await.get("result").is_none_or(Value::is_null));
}

/// As after a node that was replaced: each new connection looks whether all is there.
#[tokio::test]
async fn what_the_broker_lost_is_declared_again_on_the_next_connection() {
    let world = World::new(Keep::Sqlite).await;
    let hub = world.hub().await;
    let client = hub.client();
    for queue in ["jobs.demo.echo", "warren.retry.1s"] {
        world.vhost.delete_queue(queue).await;
    }
    world.vhost.delete_exchange("warren.return").await;
    Broker::shared().await.close_all_connections(world.vhost.name()).await;
    let id = client.accepted("demo.echo", &json!({"n": 1})).await;
    client.wait_state(&id, "succeeded", LONG).await;
    let id = client.accepted("demo.flaky", &json!({})).await;
    client.wait_state(&id, "succeeded", LONG).await;
}

/// As RabbitMQ 3.10.8 comes back that was killed soon after the rung was declared.
#[tokio::test]
async fn retries_come_back_from_a_rung_that_has_forgotten_its_time() {
    let world = World::new(Keep::Sqlite).await;
    let hub = world.hub().await;
    for rung in ["warren.retry.1s", "warren.retry.5s"] {
        let mut arguments = world.vhost.queue_arguments(rung).await;
        assert!(arguments.as_object_mut().unwrap().remove("x-message-ttl").is_some());
        world.vhost.delete_queue(rung).await;
        world.vhost.declare_queue(rung, arguments).await;
        world.vhost.bind(rung, rung, "").await;
    }
    let client = hub.client();
    let id = client.accepted("demo.flaky", &json!({})).await;
    client.wait_state(&id, "succeeded", LONG).await;
}

#[tokio::test]
async fn foreign_and_stale_messages_change_nothing() {
    let world = World::new(Keep::Sqlite).await;
    let hub = world.hub().await;
    let client = hub.client();
    let id = client.accepted("demo.echo", &json!({"n": 1})).await;
    let before = client.wait_state(&id, "succeeded", LONG).await;
    let headers = |epoch: i64, attempt: i64| json!({"warren-epoch": epoch, "warren-attempt": attempt});
    for headers in [headers(1, 1), headers(7, 1), headers(1, 9), headers(-1, i64::MAX), json!({"x-death": "forged"})] {
        let properties = json!({"message_id": id, "delivery_mode": 2, "headers": headers});
        assert!(world.vhost.publish("warren.jobs", "demo.echo", properties, b"{}").await);
    }
    // A job nobody accepted is a dead letter with a reason.
    let unknown = "01890000-0000-7000-8000-000000000000";
    assert!(world.vhost.publish("warren.jobs", "demo.echo", json!({"message_id": unknown, "delivery_mode": 2}), b"{}").await);
    let letters = dead_letters(&all_tenants(&hub), "reason=unknown-job", 1).await;
    assert_eq!(letters[0]["message_id"], unknown);
    // A result in the wrong shape, too.
    assert!(world.vhost.publish("warren.results", "warren.results", json!({"message_id": "r", "delivery_mode": 2}), b"[]").await);
    dead_letters(&all_tenants(&hub), "queue=warren.results", 1).await;
    until_true(LONG, "the queue to be empty", async || world.vhost.queue_depth("jobs.demo.echo").await == Some(0)).await;
    let after = client.job(&id).await.unwrap().body;
    assert_eq!(after, before, "stale copies change nothing");
}
