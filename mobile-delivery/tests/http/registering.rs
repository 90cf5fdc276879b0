//! Devices are what was said about them last.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::ground::{How, problem, shop, start, start_with, token};

#[tokio::test]
async fn a_device_is_what_was_said_about_it_last() {
    let ground = start().await;
    let said = json!({"user": "ada", "groups": ["beta", "a"], "labels": {"os": "android"}, "tier": "lite"});
    let made = ground.put("/v1/devices/pixel-7", &said).send().await.unwrap();
    assert_eq!(made.status(), 201);
    assert_eq!(made.headers()["cache-control"], "no-store");
    let made: Value = made.json().await.unwrap();
    assert_eq!(made["groups"], json!(["a", "beta"]));
    assert_eq!((&made["token_expires_in"], made["token"].is_string()), (&json!(3600), true));
    assert!(made["refresh_token"].as_str().unwrap().starts_with("pixel-7."));
    let ends: jiff::Timestamp = made["token_expires_at"].as_str().unwrap().parse().unwrap();
    assert!((ends.as_second() - jiff::Timestamp::now().as_second() - 3600).abs() < 60, "{ends}");

    let again = ground.put("/v1/devices/pixel-7", &said).send().await.unwrap();
    assert_eq!(again.status(), 200);
    let again: Value = again.json().await.unwrap();
    assert!(again["token"].is_string() && again["refresh_token"].is_null(), "{again}");

    let shown: Value = ground.get("/v1/devices/pixel-7", &shop()).await.json().await.unwrap();
    for (field, value) in said.as_object().unwrap() {
        let sorted = if field == "groups" { &json!(["a", "beta"]) } else { value };
        assert_eq!(&shown[field], sorted);
    }
    assert_eq!((&shown["presence"], &shown["backlog"]), (&json!("offline"), &json!(0)));
    assert!(shown.get("token").is_none() && shown.get("refresh_token").is_none(), "{shown}");

    // What is left out is none, but for the groups: it stays in these until it is said to be in others.
    for (said, groups) in [(json!({"user": "eve"}), json!(["a", "beta"])), (json!({"user": "eve", "groups": []}), json!([]))] {
        let less = ground.put("/v1/devices/pixel-7", &said).send().await.unwrap();
        assert_eq!(less.status(), 200);
        assert_eq!(less.json::<Value>().await.unwrap()["groups"], groups);
        let shown: Value = ground.get("/v1/devices/pixel-7", &shop()).await.json().await.unwrap();
        assert_eq!(
            (&shown["user"], &shown["tier"], &shown["groups"], &shown["labels"]),
            (&json!("eve"), &json!("standard"), &groups, &json!({}))
        );
    }
}

#[tokio::test]
async fn a_registration_that_breaks_a_rule_says_which() {
    let ground = start().await;
    let many = |n: usize| (0..n).map(|n| format!("g{n}")).collect::<Vec<_>>();
    let labels = |n: usize| (0..n).map(|n| (format!("l{n}"), "v")).collect::<BTreeMap<_, _>>();
    let bad = [
        (json!({}), None),
        (json!([]), None),
        (json!("ada"), None),
        (json!(["ada", [], {}, null]), None),
        (json!({"user": 7}), None),
        (json!({"user": "ada", "tenant": "other"}), None),
        (json!({"user": "ada", "groups": "beta"}), None),
        (json!({"user": "ada", "labels": ["os"]}), None),
        (json!({"user": "ada", "labels": {"os": 1}}), None),
        (json!({"user": ""}), Some("#/user")),
        (json!({"user": "x".repeat(129)}), Some("#/user")),
        (json!({"user": "a\nb"}), Some("#/user")),
        (json!({"user": "a\u{0}b"}), Some("#/user")),
        (json!({"user": "ada", "groups": [""]}), Some("#/groups")),
        (json!({"user": "ada", "groups": ["a\tb"]}), Some("#/groups")),
        (json!({"user": "ada", "groups": many(65)}), Some("#/groups")),
        (json!({"user": "ada", "labels": labels(17)}), Some("#/labels")),
        (json!({"user": "ada", "labels": {"a=b": "c"}}), Some("#/labels")),
        (json!({"user": "ada", "labels": {"": "c"}}), Some("#/labels")),
        (json!({"user": "ada", "labels": {"os": "x".repeat(129)}}), Some("#/labels")),
        (json!({"user": "ada", "tier": "gold"}), Some("#/tier")),
        (json!({"user": "ada", "tier": 7}), None),
    ];
    for (body, pointer) in bad {
        let refused = problem(ground.put("/v1/devices/pixel-7", &body).send().await.unwrap(), 400, "invalid-device").await;
        assert_eq!(refused["errors"][0]["pointer"].as_str(), pointer, "{body}: {refused}");
    }
    for id in ["A", "-a", "_a", "%20", "a.b", "%C3%A4", "%00", "%ff", &"x".repeat(64)] {
        let refused = ground.put(&format!("/v1/devices/{id}"), &json!({"user": "ada"})).send().await.unwrap();
        let refused = problem(refused, 400, "invalid-device").await;
        assert!(refused["detail"].as_str().unwrap().contains("[a-z0-9][a-z0-9_-]{0,62}"), "{refused}");
    }
    let raw = |body: &'static str| ground.put("/v1/devices/pixel-7", &json!({})).body(body).send();
    problem(raw("").await.unwrap(), 400, "empty-body").await;
    problem(raw("{\"user\":").await.unwrap(), 400, "malformed-json").await;
    let large = ground.put("/v1/devices/pixel-7", &json!({"user": "x".repeat(70_000)})).send().await.unwrap();
    problem(large, 413, "body-too-large").await;
    problem(ground.post("/v1/devices/pixel-7/revoke").send().await.unwrap(), 404, "device-not-found").await;

    let most = json!({"user": "x".repeat(128), "groups": many(64), "labels": labels(16)});
    assert_eq!(ground.put(&format!("/v1/devices/{}", "x".repeat(63)), &most).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_user_has_a_hundred_devices() {
    let ground = start().await;
    for n in 0..100 {
        ground.register(&format!("d{n}")).await;
    }
    let one_more = ground.put("/v1/devices/d100", &json!({"user": "ada"})).send().await.unwrap();
    problem(one_more, 409, "too-many-devices").await;
    assert_eq!(ground.put("/v1/devices/d99", &json!({"user": "ada"})).send().await.unwrap().status(), 200);
    assert_eq!(ground.delete("/v1/devices/d5", &shop()).await.status(), 204);
    assert_eq!(ground.put("/v1/devices/d100", &json!({"user": "ada"})).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_removed_device_is_gone_with_its_messages() {
    let ground = start().await;
    ground.register("pixel-7").await;
    assert_eq!(ground.sending("pixel-7").send().await.unwrap().status(), 202);
    assert_eq!(ground.delete("/v1/devices/pixel-7", &shop()).await.status(), 204);
    problem(ground.delete("/v1/devices/pixel-7", &shop()).await, 404, "device-not-found").await;
    problem(ground.get("/v1/devices/pixel-7", &shop()).await, 404, "device-not-found").await;
    problem(ground.sending("pixel-7").send().await.unwrap(), 404, "device-not-found").await;
    ground.register("pixel-7").await;
    assert_eq!(ground.pending("acme", "pixel-7").await.len(), 0);
    assert_eq!(ground.counter("warren_device_registry_changes_total", "removed"), 1.0);
    assert_eq!(ground.counter("warren_device_registry_changes_total", "made"), 2.0);
}

#[tokio::test]
async fn each_tenant_has_its_own() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let stranger = token("evil", "shop", crate::ground::ALL);
    problem(ground.get("/v1/devices/pixel-7", &stranger).await, 404, "device-not-found").await;
    problem(ground.delete("/v1/devices/pixel-7", &stranger).await, 404, "device-not-found").await;
    let send = ground.client.post(ground.url("/v1/devices/pixel-7/messages")).bearer_auth(&stranger).body("x");
    problem(send.send().await.unwrap(), 404, "device-not-found").await;
    let send = ground.client.post(ground.url("/v1/users/ada/messages")).bearer_auth(&stranger).body("x");
    problem(send.send().await.unwrap(), 404, "no-devices").await;
    let put = ground.client.put(ground.url("/v1/devices/pixel-7")).bearer_auth(&stranger).json(&json!({"user": "eve"}));
    assert_eq!(put.send().await.unwrap().status(), 201, "another of the same name");
    let mine: Value = ground.get("/v1/devices/pixel-7", &shop()).await.json().await.unwrap();
    assert_eq!(mine["user"], "ada");
}

#[tokio::test]
async fn a_hub_that_cannot_sign_says_so() {
    let ground = start_with(How { signs: false, ..How::default() }).await;
    let made = ground.put("/v1/devices/pixel-7", &json!({"user": "ada"})).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    assert!(made.get("token").is_none() && made.get("refresh_token").is_none(), "{made}");
    let rotate = ground.put("/v1/devices/pixel-7?rotate=true", &json!({"user": "ada"})).send().await.unwrap();
    let refused = problem(rotate, 501, "no-tokens").await;
    assert!(refused["detail"].as_str().unwrap().contains("devices.token_key"));
    let refresh = ground.client.post(ground.url("/v1/devices/pixel-7/token")).json(&json!({"refresh_token": "x"}));
    problem(refresh.send().await.unwrap(), 501, "no-tokens").await;
    // A device with a token of the team's own issuer is let in.
    assert_eq!(ground.get("/v1/devices/pixel-7", &token("acme", "pixel-7", "device")).await.status(), 200);
}
