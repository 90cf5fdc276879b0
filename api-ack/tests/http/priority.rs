//! Which class a job is of, as a caller says it.

use api_ack::kinds::{KindSpec, Worker};
use api_ack::store::{JobStore, Priority};
use broker_topology::Kind;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use crate::ground::{Ground, accepted, ada, problem, start};

fn rush(ground: &Ground) -> RequestBuilder {
    ground.client.post(ground.url("/v1/kinds/orders.rush/jobs")).bearer_auth(ada()).body("{}")
}

async fn submit(ground: &Ground, key: &str, priority: Option<&str>) -> Response {
    let request = rush(ground).header("idempotency-key", key);
    let request = match priority {
        Some(priority) => request.header("warren-priority", priority),
        None => request,
    };
    request.send().await.unwrap()
}

/// The kind `orders.rush` as it would be after a restart.
fn configure(ground: &Ground, priority: Option<Priority>) {
    let spec = KindSpec::new(Kind::parse("orders.rush").unwrap(), Worker::Rust);
    ground.kinds.replace([KindSpec { priority, ..spec }]);
}

#[tokio::test]
async fn a_job_is_of_the_class_it_asks_for_or_of_its_kinds_own() {
    let ground = start().await;
    for (own, asked, class) in [
        (Some(Priority::Normal), Some("high"), Priority::High),
        (Some(Priority::Normal), None, Priority::Normal),
        (Some(Priority::High), Some("normal"), Priority::Normal),
        (Some(Priority::High), None, Priority::High),
        (None, Some("normal"), Priority::Normal),
        (None, None, Priority::Normal),
    ] {
        configure(&ground, own);
        let id = accepted(submit(&ground, &format!("{own:?} {asked:?}"), asked).await).await;
        assert_eq!(ground.store.load(&[id]).await.unwrap()[0].priority, class, "{own:?} {asked:?}");
        let shown: Value = ground.get(&format!("/v1/jobs/{id}"), &ada()).await.json().await.unwrap();
        assert_eq!(shown["priority"], class.name());
        let list: Value = ground.get("/v1/jobs?limit=1", &ada()).await.json().await.unwrap();
        assert_eq!((&list["items"][0]["id"], &list["items"][0]["priority"]), (&shown["id"], &shown["priority"]));
        let kind: Value = ground.get("/v1/kinds/orders.rush", &ada()).await.json().await.unwrap();
        assert_eq!(kind["priority"].as_str(), own.map(Priority::name));
    }
}

#[tokio::test]
async fn high_of_a_kind_with_one_queue_names_the_setting() {
    let ground = start().await;
    configure(&ground, None);
    let document = problem(submit(&ground, "k", Some("high")).await, 400, "invalid-priority").await;
    let detail = document["detail"].as_str().unwrap();
    assert!(detail.contains("orders.rush") && detail.contains("`priority = \"normal\"`"), "{detail}");
    assert_eq!(document["errors"][0]["header"], "warren-priority");
    assert_eq!(ground.jobs().await, 0);
}

#[tokio::test]
async fn the_class_is_part_of_what_a_key_stands_for_and_is_answered_again_when_it_is_no_more() {
    let ground = start().await;
    let first = accepted(submit(&ground, "k", Some("high")).await).await;
    problem(submit(&ground, "k", Some("normal")).await, 422, "idempotency-key-reused").await;
    problem(submit(&ground, "k", None).await, 422, "idempotency-key-reused").await;
    configure(&ground, None);
    assert_eq!(accepted(submit(&ground, "k", Some("high")).await).await, first);
    problem(submit(&ground, "other", Some("high")).await, 400, "invalid-priority").await;
    assert_eq!(ground.jobs().await, 1);
}
