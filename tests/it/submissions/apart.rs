//! Messages of a tenant whose backlog is full: they wait apart, and nobody else's wait behind them.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{ALL_SCOPES, HubClient, HubOptions, HubProcess, token};
use warren_tests::wait::until_true;

use super::publish;
use crate::edge::metric;
use crate::world::{Keep, LONG, World, settled};

/// Jobs of this kind wait in the store while it is paused.
const HELD: &str = "demo.echo";

fn operator(hub: &HubProcess) -> HubClient {
    HubClient::new(hub.admin_url(), Some(token("*", "olga", ALL_SCOPES)))
}

async fn set(hub: &HubProcess, what: &str) {
    let client = operator(hub);
    let answer =
        client.send(client.request(Method::POST, &format!("/admin/kinds/{HELD}/{what}")).json(&json!({}))).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// A hub that takes so much in all and of one tenant, its kind paused.
async fn full(world: &World, keep: &str, crash: &[(&str, &str)]) -> HubProcess {
    let options = world.options();
    let extra_toml = format!("[limits]\n{keep}\n{}", options.extra_toml);
    let env = crash.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let hub = HubProcess::start(&HubOptions { extra_toml, env, ..options }).await;
    settled(&hub).await;
    set(&hub, "pause").await;
    hub
}

/// Each message has a subject of its own, by which its job is known.
async fn send(world: &World, tenant: &str, kind: &str, id: &str) {
    publish(world, kind, id, of(tenant, id), b"{}").await;
}

fn of(tenant: &str, id: &str) -> Value {
    json!({"headers": {"cloudEvents_source": id, "warren-tenant": tenant, "mine": "kept"}})
}

/// Subjects of the jobs of a tenant in one of these states, sorted.
async fn jobs(hub: &HubProcess, tenant: &str, states: &[&str]) -> Vec<String> {
    let admin = operator(hub);
    let listed = admin.get(&format!("/admin/jobs?tenant={tenant}&limit=100")).await.unwrap().body;
    let mut found = Vec::new();
    for job in listed["items"].as_array().unwrap().iter().filter(|job| states.contains(&job["state"].as_str().unwrap())) {
        let shown = admin.get(&format!("/admin/jobs/{}", job["id"].as_str().unwrap())).await.unwrap().body;
        found.push(shown["payload"]["subject"].as_str().unwrap().to_owned());
    }
    found.sort();
    found
}

async fn depth(world: &World, queue: &str, messages: u32) {
    until_true(LONG, &format!("{messages} in {queue}"), async || world.vhost.queue_depth(queue).await == Some(messages)).await;
}

/// Waits until the limits know of so many jobs. A look at the store that was under way while one was accepted may forget it until the next, and let one
/// too many in: that is documented, and no subject here.
async fn counted(hub: &HubProcess, jobs: f64) {
    until_true(LONG, "a look at what waits", async || metric(hub, "warren_outbox_rows").await.total_cmp(&jobs).is_eq()).await;
}

/// So many wait in the rungs for what is put apart.
async fn apart(world: &World, messages: u32) {
    until_true(LONG, &format!("{messages} apart"), async || {
        let rungs = ["warren.retry.30s", "warren.retry.2m"].map(|rung| world.vhost.queue_depth(rung));
        let [first, later] = rungs;
        first.await.unwrap_or(0) + later.await.unwrap_or(0) == messages
    })
    .await;
}

#[tokio::test]
async fn messages_of_a_full_tenant_wait_apart_and_others_do_not_wait_for_them() {
    let world = World::new(Keep::Postgres).await;
    let hub = full(&world, "backlog_per_tenant = 4", &[]).await;
    for id in ["a-1", "a-2", "a-3", "a-4"] {
        send(&world, "acme", HELD, id).await;
    }
    counted(&hub, 4.0).await;
    for id in ["a-5", "a-6", "a-6"] {
        send(&world, "acme", HELD, id).await;
    }
    let began = Instant::now();
    send(&world, "rival", "demo.noop", "b-1").await;
    until_true(LONG, "the other tenant's job", async || jobs(&hub, "rival", &["succeeded"]).await == ["b-1"]).await;
    assert!(began.elapsed() < Duration::from_secs(10), "it waited: {:?}", began.elapsed());
    // A copy counts as any message: what it becomes is settled by its id.
    apart(&world, 3).await;
    assert_eq!((world.vhost.queue_depth("warren.submit").await, jobs(&hub, "acme", &["accepted"]).await.len()), (Some(0), 4));

    // What has been round already waits longer the next time, and is what it was.
    let mut properties = of("acme", "a-7");
    properties
        .as_object_mut()
        .unwrap()
        .extend(json!({"type": HELD, "message_id": "a-7", "delivery_mode": 2}).as_object().cloned().unwrap());
    assert!(world.vhost.publish("warren.retry.1s", "warren.submit", properties, b"{}").await);
    apart(&world, 4).await;
    // On a machine that takes its time the others are on their second round as well.
    let mut waiting = world.vhost.get_messages("warren.retry.2m", 4).await;
    let seventh = waiting.iter().position(|message| message.message_id() == Some("a-7")).expect("in the longer rung");
    let mut round = waiting.remove(seventh);
    assert_eq!(
        (round.message_id(), round.body.as_slice(), round.routing_key.as_str()),
        (Some("a-7"), b"{}".as_slice(), "warren.submit")
    );
    assert_eq!((&round.properties["type"], &round.properties["delivery_mode"]), (&json!(HELD), &json!(2)));
    // The broker's own, of this very look.
    round.properties["headers"].as_object_mut().unwrap().remove("x-delivery-count");
    assert_eq!(round.properties["headers"], of("acme", "a-7")["headers"], "no more and no less than it came with");

    set(&hub, "resume").await;
    for message in waiting {
        assert!(world.vhost.publish("warren.return", "warren.submit", message.properties, &message.body).await);
    }
    // There is room for as many at once. On a machine that takes its time one has begun its second round, of two minutes, meanwhile.
    let six = ["a-1", "a-2", "a-3", "a-4", "a-5", "a-6"];
    until_true(Duration::from_secs(120) + LONG, "each to be one job", async || jobs(&hub, "acme", &["succeeded"]).await == six)
        .await;
    assert!(world.vhost.publish("warren.return", "warren.submit", round.properties, &round.body).await);
    until_true(LONG, "the last to be one", async || {
        jobs(&hub, "acme", &["succeeded"]).await.last().is_some_and(|id| id == "a-7")
    })
    .await;
    for queue in ["warren.submit", "warren.retry.30s", "warren.retry.2m"] {
        depth(&world, queue, 0).await;
    }
    assert_eq!(jobs(&hub, "acme", &["accepted", "queued", "running", "succeeded", "dead"]).await.len(), 7);
    let letters = operator(&hub).get("/admin/dead-letters").await.unwrap().body;
    assert_eq!(letters["items"], json!([]), "nothing was given up");
}

#[tokio::test]
async fn when_all_is_full_messages_stay_where_they_are() {
    let world = World::new(Keep::Sqlite).await;
    let hub = full(&world, "backlog_per_tenant = 1\nbacklog_total = 1", &[]).await;
    send(&world, "acme", HELD, "a-1").await;
    until_true(LONG, "the first job", async || jobs(&hub, "acme", &["accepted"]).await.len() == 1).await;
    counted(&hub, 1.0).await;
    send(&world, "acme", HELD, "a-2").await;
    until_true(LONG, "the batch to be refused", async || hub.log().matches("a batch is not handled").count() >= 2).await;
    for rung in ["30s", "2m"] {
        assert_eq!(world.vhost.queue_depth(&format!("warren.retry.{rung}")).await, Some(0));
    }
    set(&hub, "resume").await;
    let began = Instant::now();
    until_true(LONG, "both", async || jobs(&hub, "acme", &["succeeded"]).await == ["a-1", "a-2"]).await;
    assert!(began.elapsed() < Duration::from_secs(25), "it was nowhere but in its queue: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_message_that_was_put_apart_and_not_acked_is_one_job() {
    let world = World::new(Keep::Postgres).await;
    let mut hub = full(&world, "backlog_per_tenant = 1", &[("WARREN_CRASH_POINT", "K12")]).await;
    send(&world, "acme", HELD, "a-1").await;
    counted(&hub, 1.0).await;
    send(&world, "acme", HELD, "a-2").await;
    hub.crashed(LONG).await;
    hub.start_again_with(&[]).await;
    set(&hub, "resume").await;
    // The one in the queue and the one in the rung are both taken.
    until_true(LONG, "each to be one job", async || jobs(&hub, "acme", &["succeeded"]).await == ["a-1", "a-2"]).await;
    for queue in ["warren.submit", "warren.retry.30s", "warren.retry.2m"] {
        depth(&world, queue, 0).await;
    }
    assert_eq!(jobs(&hub, "acme", &["accepted", "queued", "running", "succeeded", "dead"]).await.len(), 2);
}
