//! One job per key.

use std::sync::Arc;

use api_ack::kinds::KindSpec;
use api_ack::schema::Schema;
use api_ack::store::State;
use reqwest::Response;

use crate::ground::{Ground, accepted, ada, problem, start, token};

async fn submit(ground: &Ground, key: &str, body: &'static str) -> Response {
    ground.submission().header("idempotency-key", key).body(body).send().await.unwrap()
}

fn replayed(response: &Response) -> bool {
    response.headers().get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn the_same_request_is_the_same_job() {
    let ground = start().await;
    let first = submit(&ground, "k", "{\"n\":1}").await;
    assert!(!replayed(&first));
    let first = first.bytes().await.unwrap();
    for key in ["k", "\"k\"", " k "] {
        let again = submit(&ground, key, "{\"n\":1}").await;
        assert!(replayed(&again));
        assert_eq!(again.status(), 202);
        assert_eq!(again.bytes().await.unwrap(), first);
    }
    assert_eq!(ground.jobs().await, 1);
    assert_eq!(ground.counter("warren_jobs_accepted_total", "demo.echo"), 1.0);
    assert_eq!(ground.counter("warren_accept_replayed_total", ""), 3.0);
}

#[tokio::test]
async fn a_replay_is_the_first_answer_whatever_became_of_the_job() {
    let ground = start().await;
    let first = submit(&ground, "k", "1").await.bytes().await.unwrap();
    let id = serde_json::from_slice::<serde_json::Value>(&first).unwrap()["id"].as_str().unwrap().parse().unwrap();
    let ended = |status: &api_ack::store::Status| api_ack::store::Status {
        state: State::Succeeded,
        owner: None,
        due_at: 0,
        outlet: None,
        ended_at: Some(status.updated_at),
        ..status.clone()
    };
    ground.change(id, None, ended).await;
    assert_eq!(submit(&ground, "k", "1").await.bytes().await.unwrap(), first);
}

#[tokio::test]
async fn another_body_with_the_key_is_refused() {
    let ground = start().await;
    let id = accepted(submit(&ground, "k", "{\"n\":1}").await).await;
    problem(submit(&ground, "k", "{\"n\":2}").await, 422, "idempotency-key-reused").await;
    problem(submit(&ground, "k", "{\"n\": 1}").await, 422, "idempotency-key-reused").await;
    assert_eq!(accepted(submit(&ground, "k", "{\"n\":1}").await).await, id);
    assert_eq!(ground.jobs().await, 1);
}

#[tokio::test]
async fn what_says_the_same_about_the_body_is_the_same_request() {
    let ground = start().await;
    let post = |media: Option<&'static str>| {
        let request = ground.client.post(ground.url(crate::ground::ECHO)).bearer_auth(crate::ground::ada()).body("1");
        let request = request.header("idempotency-key", "k");
        media.into_iter().fold(request, |request, media| request.header("content-type", media)).send()
    };
    let id = accepted(post(None).await.unwrap()).await;
    assert_eq!(accepted(post(Some("application/json")).await.unwrap()).await, id);
    assert_eq!(accepted(post(Some("Application/JSON; charset=UTF-8")).await.unwrap()).await, id);
}

#[tokio::test]
async fn a_key_belongs_to_its_tenant_its_subject_and_its_route() {
    let ground = start().await;
    let post = async |tenant: &str, subject: &str, kind: &str| {
        let request = ground.client.post(ground.url(&format!("/v1/kinds/{kind}/jobs")));
        let response = request.bearer_auth(token(tenant, subject, "jobs:submit")).header("idempotency-key", "k").body("1").send();
        accepted(response.await.unwrap()).await
    };
    let mut ids = vec![
        post("acme", "ada", "demo.echo").await,
        post("acme", "bob", "demo.echo").await,
        post("other", "ada", "demo.echo").await,
        post("acme", "ada", "demo.flaky").await,
    ];
    assert_eq!(post("acme", "ada", "demo.echo").await, ids[0]);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_eq!(ground.jobs().await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_makes_the_job_and_all_learn_of_it() {
    let ground = start().await;
    let answers = futures::future::join_all((0..64).map(|n| submit(&ground, "k", if n % 8 == 7 { "2" } else { "1" }))).await;
    let (mut fresh, mut ids, mut refused) = (0, Vec::new(), 0);
    for answer in answers {
        match answer.status().as_u16() {
            202 => {
                fresh += usize::from(!replayed(&answer));
                ids.push(accepted(answer).await);
            }
            _ => {
                problem(answer, 422, "idempotency-key-reused").await;
                refused += 1;
            }
        }
    }
    ids.dedup();
    assert_eq!((fresh, ids.len(), ground.jobs().await), (1, 1, 1));
    assert!(refused == 8 || refused == 56, "whoever was first, the others are refused: {refused}");
}

#[tokio::test]
async fn without_a_key_each_request_is_a_job() {
    let ground = start().await;
    let one = accepted(ground.submission().send().await.unwrap()).await;
    let two = accepted(ground.submission().send().await.unwrap()).await;
    assert_ne!(one, two);
    assert_eq!(ground.jobs().await, 2);
}

#[tokio::test]
async fn a_schema_that_came_since_does_not_refuse_a_replay() {
    let ground = start().await;
    let order = async |key: &str, body: &'static str| {
        let request = ground.client.post(ground.url("/v1/orders")).bearer_auth(ada()).header("idempotency-key", key);
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    };
    let body = r#"{"sku":"tea","count":1}"#;
    let first = accepted(order("k", body).await).await;
    let spec = ground.kinds.get("orders.place").unwrap();
    let strict = Schema::compile(serde_json::json!({"required": ["address"]})).unwrap();
    ground.kinds.replace([KindSpec { schema: Some(Arc::new(strict)), ..KindSpec::clone(&spec) }]);
    assert_eq!(accepted(order("k", body).await).await, first);
    problem(order("new", body).await, 422, "schema-violation").await;
    problem(order("k", r#"{"sku":"tea","count":2}"#).await, 422, "idempotency-key-reused").await;
    // In a batch too, whose key is of the kind's own address.
    let batch = async || {
        let body = r#"[{"kind":"orders.place","data":{"sku":"tea","count":1},"key":"b"}]"#;
        let request = ground.client.post(ground.url("/v1/jobs")).bearer_auth(ada()).header("content-type", "application/json");
        request.body(body).send().await.unwrap().json::<serde_json::Value>().await.unwrap()["items"][0].clone()
    };
    assert_eq!(batch().await["status"], 422);
    ground.kinds.replace([KindSpec::clone(&spec)]);
    let taken = batch().await;
    ground.kinds.replace([KindSpec {
        schema: Some(Arc::new(Schema::compile(serde_json::json!(false)).unwrap())),
        ..KindSpec::clone(&spec)
    }]);
    let again = batch().await;
    assert_eq!((&again["status"], &again["id"]), (&serde_json::json!(202), &taken["id"]), "{again}");
    assert_eq!(ground.jobs().await, 2);
}
