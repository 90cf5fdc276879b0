//! What a plan sees, and what it refuses to lose.

use std::sync::Arc;

use broker_topology::Names;
use messaging::connection::{BrokerOptions, Link};
use messaging::keys::share;
use messaging::metrics::Metrics;
use messaging::publisher::{Publisher, PublisherOptions};
use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warren_tests::broker::Broker;
use warren_tests::downstream::Downstream;
use warren_tests::hub::{ALL_SCOPES, HubClient, HubOptions, HubProcess, token};
use warren_tests::ports::free_port;
use warren_tests::wait::until_true;

use super::Desk;
use crate::world::{LONG, settled};

#[tokio::test]
async fn a_plan_tells_what_is_missing_what_differs_and_what_is_there_besides() {
    let desk = Desk::set(&["orders.place"]).await;
    let blank = desk.run("plan --json").await.ended(2).json();
    assert_eq!(blank["sight"], "full");
    assert_eq!(blank["drift"]["missing"].as_u64().unwrap() as usize, blank["steps"].as_array().unwrap().len());
    desk.run("apply").await.ended(0);
    let quiet = desk.run("plan").await.ended(0);
    assert!(
        quiet.out.ends_with(
            "0 to create, 0 to change, 0 to migrate, 0 to remove; 0 stay besides, 0 policies override, 0 would be lost\n"
        ),
        "{}",
        quiet.out
    );

    // Somebody at work: a queue made anew with another limit, one deleted, a subscription of an unknown queue, a TTL on a rung.
    let vhost = &desk.vhost;
    vhost.delete_queue("jobs.orders.place").await;
    vhost
        .declare_queue("jobs.orders.place", json!({"x-queue-type": "quorum", "x-delivery-limit": 5, "warren-owner": "hub"}))
        .await;
    vhost.delete_queue("warren.submit").await;
    vhost.declare_queue("theirs", json!({"x-queue-type": "classic"})).await;
    vhost.bind("warren.events", "theirs", "order.#").await;
    vhost.set_policy("short", "^warren\\.retry\\.", "queues", json!({"message-ttl": 500})).await;
    let said = desk.run("plan").await.ended(2);
    for part in [
        "x-delivery-limit from 5 to 100",
        "x-dead-letter-exchange from nothing to `warren.dead`",
        "warren topology migrate jobs.orders.place",
        "queue     warren.submit",
        "binding   warren.submit -> queue warren.submit",
        "binding   warren.events -> queue theirs  key order.#  made by somebody else",
        "policy short sets message-ttl to 500, the queue states 1000",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert!(said.err.contains("`warren topology apply` makes it so") && said.err.lines().count() == 1, "{}", said.err);
    let drift = desk.run("plan --json").await.ended(2).json()["drift"].clone();
    assert_eq!((&drift["changed"], &drift["extra"], &drift["policy"]), (&json!(1), &json!(1), &json!(5)), "{drift}");
    // Nothing of that is apply's to change, but what is missing; and it says so.
    let applied = desk.run("apply").await.ended(1);
    assert!(
        applied.out.contains("created warren.submit") && applied.err.contains("left: queue jobs.orders.place differs"),
        "{}",
        applied.err
    );
    assert_eq!(desk.vhost.queue_arguments("jobs.orders.place").await["x-delivery-limit"], 5);
}

#[tokio::test]
async fn what_would_be_lost_is_named_and_refused() {
    let desk = Desk::set(&["orders.place", "demo.late"]).await;
    let kinds = "[[kind]]\nname = \"orders.place\"\nworker = \"amqp\"\n[[kind]]\nname = \"demo.late\"\nworker = \"amqp\"\n";
    let options = HubOptions {
        broker_url: desk.vhost.url(),
        extra_toml: kinds.to_owned(),
        env: desk.env.clone(),
        // The keeper would consume the dead letter queue.
        roles: vec!["api".to_owned(), "worker".to_owned()],
        ..HubOptions::default()
    };
    let hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let client = hub.client();
    let request = client.request(Method::POST, "/v1/kinds/demo.late/jobs").header("warren-delay", "1h").json(&json!({}));
    assert_eq!(client.send(request).await.unwrap().status, 202);
    for _ in 0..2 {
        client.accepted("demo.late", &json!({})).await;
    }
    until_true(LONG, "both to be in the queue", async || desk.vhost.queue_depth("jobs.demo.late").await == Some(2)).await;

    // The kind leaves the configuration.
    desk.write(&["orders.place"], "");
    let kept = desk.run("plan").await.ended(0);
    assert!(kept.out.contains("queue     jobs.demo.late  ours: --prune removes it"), "{}", kept.out);
    let token = token("*", "operator", ALL_SCOPES);
    let reach = [("WARREN_ADMIN_URL", &*hub.admin_url()), ("WARREN_TOKEN", &*token)].map(|(n, v)| (n, v.to_owned()));
    let reach = reach.each_ref().map(|(name, value)| (*name, value.as_str()));
    let said = desk.run_with("plan --prune", &reach).await.ended(2);
    for part in [
        "queue jobs.demo.late: 2 messages ready and 0 held (",
        "queue jobs.demo.late: 3 jobs (2 queued, 1 scheduled) of the kind demo.late point to it",
        "exchange warren.jobs: key demo.late seen 2 times in the last hour would reach no queue",
        // This hub has only begun.
        " min only: one that is published less often may not be among them",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let refused = desk.run_with("apply --prune", &reach).await.ended(1);
    assert!(
        refused.err.contains("nothing was applied") && refused.err.contains("3 jobs (2 queued, 1 scheduled)"),
        "{}",
        refused.err
    );
    assert_eq!(desk.vhost.queue_depth("jobs.demo.late").await, Some(2));
    // Without a hub nobody knows what waits: that counts as well.
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let unknown = desk.run_with("plan --prune", &[("WARREN_ADMIN_URL", &nobody), ("WARREN_TOKEN", "x")]).await.ended(2);
    assert!(unknown.out.contains("no hub could be asked for jobs of the kind demo.late"), "{}", unknown.out);
    assert!(unknown.out.contains(&format!("no hub answers at {nobody}")), "{}", unknown.out);
    let done = desk.run_with("apply --prune --accept-loss", &reach).await.ended(0);
    assert!(done.out.contains("removed queue jobs.demo.late\n"), "{}", done.out);
    assert_eq!(desk.vhost.queue_depth("jobs.demo.late").await, None);
    desk.run_with("plan --prune", &reach).await.ended(0);
}

#[tokio::test]
async fn without_the_management_api_only_what_is_missing_is_seen_and_made() {
    let desk = Desk::set(&["orders.place"]).await;
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let blind = [("WARREN__BROKER__MANAGEMENT_URL", nowhere.as_str())];
    let said = desk.run_with("plan", &blind).await.ended(2);
    for part in [
        &format!("no management API answers at {nowhere}"),
        "rabbitmq-plugins enable rabbitmq_management",
        "no arguments, no bindings, no policies",
        "queue     jobs.orders.place",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    desk.run_with("apply", &blind).await.ended(0);
    // That nothing is missing does not say that nothing differs.
    let untold = desk.run_with("plan --json", &blind).await.ended(1);
    assert!(untold.err.contains("whether the broker differs cannot be told: no management API answers"), "{}", untold.err);
    let untold = untold.json();
    assert_eq!((&untold["sight"], &untold["drift"]["policy"]), (&json!("existence"), &json!(null)), "{untold}");
    // Bindings too, as who sees them knows.
    desk.run("check").await.ended(0);
    let refused = desk.run_with("apply --prune", &blind).await.ended(1);
    assert!(refused.err.contains("no management API answers"), "{}", refused.err);
    desk.run_with("check", &blind).await.ended(1);
    // A policy is not set over AMQP, and that is said.
    desk.write(&["orders.place"], "[[policy]]\nname = \"p\"\npattern = \"^theirs\"\ndefinition = { max-length = 5 }\n");
    let left = desk.run_with("apply --json", &blind).await.ended(1);
    assert!(left.json()["left"][0].as_str().unwrap().starts_with("policy p is not set: "), "{}", left.out);
    assert!(left.err.contains("left: policy p is not set: "), "{}", left.err);
    desk.run("apply").await.ended(0);
    desk.run("check").await.ended(0);
}

#[tokio::test]
async fn a_hub_knows_the_keys_that_another_process_published() {
    let desk = Desk::set(&["orders.place"]).await;
    let hub = HubProcess::start(&HubOptions { broker_url: desk.vhost.url(), ..HubOptions::default() }).await;
    settled(&hub).await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let metrics = Arc::new(Metrics::new(&Default::default()).unwrap());
    let link = Link::start(Arc::new(BrokerOptions::new(desk.vhost.url(), "test")), "test", &tasks, stop.clone(), metrics.clone());
    let publisher = || Publisher::start(link.clone(), PublisherOptions::default(), &tasks, stop.clone(), metrics.clone());
    let every = std::time::Duration::from_millis(100);
    let (keys, names) = (metrics.keys.clone(), Names::default());
    tasks.spawn(share(keys.clone(), "billing/1".to_owned(), publisher(), names.clone(), every, stop.clone()));
    let admin = HubClient::new(hub.admin_url(), Some(token("*", "operator", ALL_SCOPES)));
    // Told again and again: a notice that comes before the hub listens is not heard.
    until_true(LONG, "the hub to know the key", async || {
        keys.saw([("warren.events", "order.placed")].into_iter());
        let told = admin.get("/admin/topology/keys").await.unwrap().body;
        assert!(told["since"].is_string(), "{told}");
        let known = told["keys"].as_array().unwrap().iter();
        known.clone().any(|seen| seen["exchange"] == "warren.events" && seen["key"] == "order.placed")
    })
    .await;
    stop.cancel();
}

#[tokio::test]
async fn who_cannot_be_asked_is_named_with_the_remedy() {
    let desk = Desk::set(&["orders.place"]).await;
    let url = Broker::shared().await.management().url().to_owned();
    let stranger = Downstream::start(Downstream::status(200)).await;
    let wrong = url.replacen("http://", "http://nobody:canary@", 1);
    for (at, parts) in [
        (stranger.origin(), ["is no RabbitMQ management API", "broker.management_url"]),
        (wrong, ["does not let the user `nobody` in", "rabbitmqctl set_user_tags nobody monitoring"]),
        (url.replacen("http://", "https://", 1), ["no TLS with the management API at https://", "broker.management_url"]),
    ] {
        let said = desk.run_with("check", &[("WARREN__BROKER__MANAGEMENT_URL", &at)]).await.ended(1);
        for part in parts {
            assert!(said.err.contains(part), "{part}: {}", said.err);
        }
        assert!(said.err.lines().count() == 1 && !said.err.contains("canary"), "{}", said.err);
    }
    let refused = desk.run_with("plan", &[("WARREN__BROKER__MANAGEMENT_URL", &stranger.origin())]).await.ended(1);
    assert!(refused.err.contains("is no RabbitMQ management API"), "{}", refused.err);
}
