//! Tags, as a client says and finds them.

use reqwest::Response;
use serde_json::{Value, json};

use crate::ground::{Ground, accepted, ada, problem, start, token};

async fn submit(ground: &Ground, tags: &str, key: &str) -> Response {
    ground.submission().header("warren-tags", tags).header("idempotency-key", key).send().await.unwrap()
}

async fn list(ground: &Ground, query: &str) -> Vec<String> {
    let page: Value = ground.get(&format!("/v1/jobs?{query}"), &ada()).await.json().await.unwrap();
    let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
    items.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_job_is_tagged_by_its_request_and_found_by_its_tags() {
    let ground = start().await;
    let both = accepted(submit(&ground, "region=eu, batch-7", "a").await).await.to_string();
    let one = accepted(submit(&ground, "region=eu", "b").await).await.to_string();
    let none = accepted(ground.submission().send().await.unwrap()).await.to_string();
    for (id, tags) in [(&both, json!(["batch-7", "region=eu"])), (&one, json!(["region=eu"])), (&none, json!([]))] {
        let job: Value = ground.get(&format!("/v1/jobs/{id}"), &ada()).await.json().await.unwrap();
        assert_eq!(job["tags"], tags, "{job}");
    }
    assert_eq!(list(&ground, "tag=region=eu").await, [one.clone(), both.clone()]);
    assert_eq!(list(&ground, "tag=region%3Deu,batch-7").await, std::slice::from_ref(&both));
    assert_eq!(list(&ground, "tag=batch-8").await, [""; 0]);
    assert_eq!(list(&ground, "tag=").await, [none, one.clone(), both.clone()]);
    assert_eq!(list(&ground, "tag=region=eu&limit=1").await, [one]);
    let page: Value = ground.get("/v1/jobs?tag=batch-7", &ada()).await.json().await.unwrap();
    assert_eq!(page["items"][0]["tags"], json!(["batch-7", "region=eu"]), "{page}");
    // Another subject's, and another tenant's, are not there.
    for stranger in [token("acme", "bob", "jobs:read"), token("other", "ada", "jobs:read:all")] {
        let page: Value = ground.get("/v1/jobs?tag=batch-7", &stranger).await.json().await.unwrap();
        assert_eq!(page["items"], json!([]));
    }
    problem(ground.get("/v1/jobs?tag=a%20b", &ada()).await, 400, "invalid-parameter").await;
}

#[tokio::test]
async fn tags_are_part_of_what_makes_two_requests_the_same() {
    let ground = start().await;
    let first = accepted(submit(&ground, "a,b", "k").await).await;
    assert_eq!(accepted(submit(&ground, "b, a, b", "k").await).await, first, "whatever their order");
    problem(submit(&ground, "a", "k").await, 422, "idempotency-key-reused").await;
    let two = ground.submission().header("warren-tags", "b").header("warren-tags", "a").header("idempotency-key", "k");
    assert_eq!(accepted(two.send().await.unwrap()).await, first, "two headers are one list");
    let item = json!([{"kind": "demo.echo", "data": {"n": 1}, "key": "k", "tags": ["a", "b"]}]);
    let request = ground.client.post(ground.url("/v1/jobs")).bearer_auth(ada()).json(&item);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["items"][0]["id"], &answer["items"][0]["replayed"]), (&json!(first), &json!(true)), "{answer}");
    assert_eq!(ground.jobs().await, 1);
}
