//! Who is told of the end of a job, as a client says and reads it.

use api_ack::kinds::KindSpec;
use api_ack::store::{CallbackState, CallbackStore, State, Status};
use reqwest::Response;
use serde_json::{Value, json};

use crate::ground::{Ground, accepted, ada, problem, start, token};

const HOOK: &str = "https://example.com/hook?secret=1";

async fn submit(ground: &Ground, url: &str, key: &str) -> Response {
    ground.submission().header("warren-callback", url).header("idempotency-key", key).send().await.unwrap()
}

async fn shown(ground: &Ground, id: uuid::Uuid) -> Value {
    ground.get(&format!("/v1/jobs/{id}"), &ada()).await.json().await.unwrap()
}

#[tokio::test]
async fn a_callback_is_stored_and_shown_without_its_query() {
    let ground = start().await;
    let id = accepted(submit(&ground, HOOK, "k").await).await;
    let stored = ground.store.callback(id).await.unwrap().unwrap();
    assert_eq!((stored.target.url.as_str(), stored.target.host.as_str()), (HOOK, "example.com:443"));
    let job = shown(&ground, id).await;
    assert_eq!(job["callback"], json!({"url": "https://example.com/hook", "state": "waiting", "calls": []}));
    ground
        .change(id, None, |status| Status {
            state: State::Cancelled,
            outlet: None,
            ended_at: Some(status.due_at),
            ..status.clone()
        })
        .await;
    assert_eq!(ground.store.owe(1_000_000, 9).await.unwrap(), 1);
    let job = shown(&ground, id).await;
    assert_eq!((&job["callback"]["state"], &job["callback"]["next_at"]), (&json!("owed"), &json!("1970-01-01T00:00:01Z")));

    let none = accepted(ground.submission().send().await.unwrap()).await;
    assert!(shown(&ground, none).await["callback"].is_null() && ground.store.callback(none).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_no_callback_here_is_refused_and_leaves_nothing_behind() {
    let ground = start().await;
    // Row by row as an attacker would try it; the rest is in the table of the rules.
    for (url, why) in [
        ("http://127.0.0.1/", "https://"),
        ("https://169.254.169.254/latest/meta-data", "link-local"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://0x7f000001/", "loopback"),
        ("https://localhost./", "loopback"),
        ("file:///etc/passwd", "https://"),
        ("https://example.com:5672/", "port 5672"),
        ("https://a@example.com/", "user"),
        ("nonsense", "absolute URL"),
        ("", "absolute URL"),
    ] {
        let refused = problem(submit(&ground, url, "k").await, 422, "invalid-callback").await;
        assert!(refused["detail"].as_str().unwrap().contains(why), "{url}: {refused}");
        assert_eq!(refused["errors"][0]["header"], "warren-callback", "{refused}");
    }
    let twice = ground.submission().header("warren-callback", HOOK).header("warren-callback", HOOK).send().await.unwrap();
    problem(twice, 422, "invalid-callback").await;
    let request = ground.client.post(ground.url(crate::ground::ECHO)).bearer_auth(token("other", "bob", "jobs:submit"));
    let refused =
        problem(request.header("warren-callback", HOOK).body("{}").send().await.unwrap(), 422, "callback-secret-missing").await;
    assert!(refused["detail"].as_str().unwrap().contains("[[callback_secret]]"), "{refused}");
    assert_eq!(ground.jobs().await, 0);
}

#[tokio::test]
async fn items_of_a_batch_have_their_own() {
    let ground = start().await;
    let items = json!([
        {"kind": "demo.echo", "data": 1, "callback": HOOK},
        {"kind": "demo.echo", "data": 2, "callback": "https://10.0.0.1/"},
        {"kind": "demo.echo", "data": 3},
    ]);
    let request = ground.client.post(ground.url("/v1/jobs")).bearer_auth(ada()).json(&items);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!(1)), "{answer}");
    let refused = &answer["items"][1]["problem"];
    assert_eq!(
        (&refused["code"], &refused["errors"][0]["pointer"]),
        (&json!("invalid-callback"), &json!("#/1/callback")),
        "{answer}"
    );
    let id = |at: usize| answer["items"][at]["id"].as_str().unwrap().parse::<uuid::Uuid>().unwrap();
    assert_eq!(ground.store.callback(id(0)).await.unwrap().unwrap().state, CallbackState::Waiting);
    assert_eq!(ground.store.callback(id(2)).await.unwrap(), None);
}

#[tokio::test]
async fn it_is_part_of_what_makes_two_requests_the_same() {
    let ground = start().await;
    let first = accepted(submit(&ground, HOOK, "k").await).await;
    assert_eq!(accepted(submit(&ground, HOOK, "k").await).await, first);
    problem(submit(&ground, "https://example.com/other", "k").await, 422, "idempotency-key-reused").await;
    problem(ground.submission().header("idempotency-key", "k").send().await.unwrap(), 422, "idempotency-key-reused").await;
    // What was answered once is answered so again, though nothing would sign it by now.
    ground.callbacks.replace(Default::default());
    assert_eq!(accepted(submit(&ground, HOOK, "k").await).await, first);
    problem(submit(&ground, HOOK, "new").await, 422, "callback-secret-missing").await;
}

#[tokio::test]
async fn a_kind_may_have_one_that_a_request_overrules() {
    let ground = start().await;
    ground.treat("demo.echo", |spec| KindSpec { callback: Some("https://example.com/kind".to_owned()), ..spec });
    let (own, said) =
        (accepted(ground.submission().send().await.unwrap()).await, accepted(submit(&ground, HOOK, "k").await).await);
    for (id, url) in [(own, "https://example.com/kind"), (said, HOOK)] {
        assert_eq!(ground.store.callback(id).await.unwrap().unwrap().target.url, url);
    }
    // It is as it was when the job was accepted.
    ground.treat("demo.echo", |spec| KindSpec { callback: None, ..spec });
    assert_eq!(ground.store.callback(own).await.unwrap().unwrap().target.url, "https://example.com/kind");
}
