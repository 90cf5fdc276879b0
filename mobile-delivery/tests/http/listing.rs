//! Devices in pages.

use serde_json::{Value, json};

use crate::ground::{ALL, Ground, problem, shop, start, token};

/// The ids of all pages.
async fn ids(ground: &Ground, query: &str, token: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let response = ground.get(&format!("/v1/devices?{query}{cursor}"), token).await;
        assert_eq!(response.status(), 200);
        let page: Value = response.json().await.unwrap();
        found.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn devices_are_found_by_what_was_said_about_them() {
    let ground = start().await;
    for n in 0..9 {
        let user = if n % 2 == 0 { "ada" } else { "eve & co" };
        let groups = if n % 3 == 0 { json!(["beta"]) } else { json!([]) };
        let said = json!({"user": user, "groups": groups, "labels": {"os": if n < 4 { "a=b" } else { "ios" }}});
        assert_eq!(ground.put(&format!("/v1/devices/d{n}"), &said).send().await.unwrap().status(), 201);
    }
    assert_eq!(ground.sending("d2").send().await.unwrap().status(), 202);
    let all: Vec<String> = (0..9).map(|n| format!("d{n}")).collect();
    let pick = |wanted: &[usize]| wanted.iter().map(|n| all[*n].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&ground, "limit=2", &shop()).await, all);
    assert_eq!(ids(&ground, "user=eve%20%26%20co&limit=1", &shop()).await, pick(&[1, 3, 5, 7]));
    assert_eq!(ids(&ground, "group=beta&limit=1", &shop()).await, pick(&[0, 3, 6]));
    assert_eq!(ids(&ground, "label=os%3Da%3Db&limit=3", &shop()).await, pick(&[0, 1, 2, 3]));
    assert_eq!(ids(&ground, "label=os%3Dios&user=ada", &shop()).await, pick(&[4, 6, 8]));
    assert_eq!(ids(&ground, "backlog=1", &shop()).await, pick(&[2]));
    assert_eq!(ids(&ground, "presence=offline", &shop()).await, all);
    assert!(ids(&ground, "presence=online", &shop()).await.is_empty());
    assert!(ids(&ground, "user=nobody", &shop()).await.is_empty());
    assert!(ids(&ground, "limit=2", &token("evil", "shop", ALL)).await.is_empty(), "another tenant has none");
}

#[tokio::test]
async fn a_parameter_that_cannot_be_is_refused() {
    let ground = start().await;
    for query in [
        "limit=0",
        "limit=201",
        "limit=many",
        "cursor=x",
        "cursor=",
        "label=os",
        "presence=away",
        "backlog=lots",
        "user=a%00b",
        "colour=red",
        "user=a&user=b",
        &format!("group={}", "x".repeat(300)),
    ] {
        problem(ground.get(&format!("/v1/devices?{query}"), &shop()).await, 400, "invalid-parameter").await;
    }
    let put = ground.put("/v1/devices/a?rotate=perhaps", &json!({"user": "ada"})).send().await.unwrap();
    problem(put, 400, "invalid-parameter").await;
    let put = ground.put("/v1/devices/a?rotat=true", &json!({"user": "ada"})).send().await.unwrap();
    problem(put, 400, "invalid-parameter").await;
}
