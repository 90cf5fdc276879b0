use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::postgres::Postgres;

use super::Events;
use crate::world::settled;

/// A change by any process is told at a stream in any other; when one is killed the stream says that something may be missing.
#[tokio::test]
async fn who_follows_a_kind_hears_of_what_other_processes_do_and_of_gaps() {
    let (broker, postgres) = (Broker::shared().await, Postgres::shared().await);
    let (vhost, store_url) = (broker.vhost().await, postgres.database().await);
    let hub = async |role: &str| {
        let hub = HubProcess::start(&HubOptions {
            broker_url: vhost.url(),
            store_url: store_url.clone(),
            roles: vec![role.to_owned()],
            extra_toml: "[[kind]]\nname = \"demo.echo\"\n[[kind]]\nname = \"demo.noop\"\n".to_owned(),
            ..HubOptions::default()
        })
        .await;
        settled(&hub).await;
        hub
    };
    let (one, two, mut worker) = (hub("api").await, hub("api").await, hub("worker").await);
    let mut events = Events::open(&one.client(), "/v1/kinds/demo.echo/events").await;
    assert_eq!(events.next().await.unwrap().0, "live");
    two.client().accepted("demo.noop", &json!({})).await;
    let mut ids = std::collections::BTreeSet::new();
    for n in 0..20 {
        ids.insert(two.client().accepted("demo.echo", &json!({"n": n})).await);
    }
    // The end of each is told, whoever is the one who ends it.
    while !ids.is_empty() {
        let (event, data) = events.next().await.unwrap();
        assert_eq!((event.as_str(), &data["kind"]), ("state", &json!("demo.echo")), "{data}");
        if data["state"] == "succeeded" {
            ids.remove(data["id"].as_str().unwrap());
        }
    }
    worker.kill9();
    loop {
        let (event, data) = events.next().await.unwrap();
        if event == "gap" {
            assert_eq!(data, json!({"reason": "notices"}));
            break;
        }
    }
    // And it goes on.
    let id = two.client().accepted("demo.echo", &json!({})).await;
    loop {
        let (event, data) = events.next().await.unwrap();
        if event == "state" && data["id"] == json!(id) {
            break;
        }
    }
}
