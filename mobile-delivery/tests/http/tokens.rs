//! What a device's tokens are good for, and when they no longer are.

use database::clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use mobile_delivery::store::{Claim, ProcessId, Transport};
use reqwest::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ground::{Ground, ISSUER, problem, shop, start, token};

async fn refresh(ground: &Ground, id: &str, shown: &str) -> Response {
    let url = ground.url(&format!("/v1/devices/{id}/token"));
    ground.client.post(url).json(&json!({"refresh_token": shown})).send().await.unwrap()
}

async fn refreshed(ground: &Ground, id: &str, shown: &str) -> (String, String) {
    let response = refresh(ground, id, shown).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["id"], &body["token_expires_in"]), (&json!(id), &json!(3600)));
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("token"), text("refresh_token"))
}

fn text<'a>(registered: &'a Value, name: &str) -> &'a str {
    registered[name].as_str().unwrap()
}

async fn rotate(ground: &Ground, id: &str) -> Value {
    let answer = ground.put(&format!("/v1/devices/{id}?rotate=true"), &json!({"user": "ada"})).send().await.unwrap();
    assert!(answer.status().is_success());
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_device_acts_as_itself_and_as_nobody_else() {
    let ground = start().await;
    let pixel = ground.register("pixel-7").await;
    ground.register("pixel-8").await;
    let own = text(&pixel, "token");
    assert_eq!(ground.get("/v1/devices/pixel-7", own).await.status(), 200);
    problem(ground.get("/v1/devices/pixel-8", own).await, 403, "scope-missing").await;
    problem(ground.delete("/v1/devices/pixel-8", own).await, 403, "scope-missing").await;
    problem(ground.get("/v1/devices", own).await, 403, "scope-missing").await;
    problem(ground.get(&format!("/v1/messages/{}", Uuid::now_v7()), own).await, 403, "scope-missing").await;
    for path in ["/v1/devices/pixel-7/messages", "/v1/users/ada/messages", "/v1/messages", "/v1/devices/pixel-7/revoke"] {
        let sent = ground.client.post(ground.url(path)).bearer_auth(own).body("x").send().await.unwrap();
        problem(sent, 403, "scope-missing").await;
    }
    let put = ground.client.put(ground.url("/v1/devices/pixel-7")).bearer_auth(own).json(&json!({"user": "eve"}));
    problem(put.send().await.unwrap(), 403, "scope-missing").await;
    // The same name in another tenant is another device.
    problem(ground.get("/v1/devices/pixel-7", &token("evil", "pixel-7", "device")).await, 404, "device-not-found").await;
    assert_eq!(ground.delete("/v1/devices/pixel-7", own).await.status(), 204, "it signs itself out");
    problem(ground.get("/v1/devices/pixel-7", own).await, 404, "device-not-found").await;
}

#[tokio::test]
async fn a_token_ends_and_does_not_outlive_its_registration() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let now = jiff::Timestamp::now().as_second();
    let signed = |claims: Value| encode(&Header::default(), &claims, &EncodingKey::from_secret(&[7; 32])).unwrap();
    let claims = |iat: Value, exp: i64| json!({"iss": ISSUER, "aud": "warren", "sub": "pixel-7", "tenant": "acme", "scope": "device", "exp": exp, "iat": iat});
    let expired = ground.get("/v1/devices/pixel-7", &signed(claims(json!(now), now - 60))).await;
    problem(expired, 401, "token-invalid").await;
    // Of another registration of that id, before this one.
    let old = ground.get("/v1/devices/pixel-7", &signed(claims(json!(now - 600), now + 600))).await;
    assert!(problem(old, 401, "token-invalid").await["detail"].as_str().unwrap().contains("before the device was registered"));
    for iat in [json!(now), Value::Null, json!("whenever"), json!(0.5)] {
        let token = signed(claims(iat.clone(), now + 600));
        assert_eq!(ground.get("/v1/devices/pixel-7", &token).await.status(), 200, "{iat}");
    }
    // Nor a revocation: one that was made before does not come to life again when the device is let in.
    assert_eq!(ground.post("/v1/devices/pixel-7/revoke").send().await.unwrap().status(), 200);
    let let_in = rotate(&ground, "pixel-7").await;
    assert_eq!(ground.get("/v1/devices/pixel-7", text(&let_in, "token")).await.status(), 200);
    let old = ground.get("/v1/devices/pixel-7", &signed(claims(json!(now - 5), now + 600))).await;
    assert!(problem(old, 401, "token-invalid").await["detail"].as_str().unwrap().contains("before the device was revoked"));
    let mut forged = signed(claims(json!(now), now + 600));
    forged.pop();
    problem(ground.get("/v1/devices/pixel-7", &forged).await, 401, "token-invalid").await;
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_and_a_lost_answer_is_given_again() {
    let ground = start().await;
    let first = text(&ground.register("pixel-7").await, "refresh_token").to_owned();
    let (token, second) = refreshed(&ground, "pixel-7", &first).await;
    assert_eq!(ground.get("/v1/devices/pixel-7", &token).await.status(), 200);
    for _ in 0..3 {
        assert_eq!(refreshed(&ground, "pixel-7", &first).await.1, second, "whoever did not hear it asks again");
    }
    let (_, third) = refreshed(&ground, "pixel-7", &second).await;
    assert!(first != second && second != third && first != third);
    assert_eq!(ground.counter("warren_device_registry_changes_total", "refreshed"), 5.0);
}

#[tokio::test]
async fn an_old_refresh_token_shown_again_revokes_the_device() {
    let ground = start().await;
    let registered = ground.register("pixel-7").await;
    let (first, token) = (text(&registered, "refresh_token"), text(&registered, "token"));
    assert_eq!(ground.sending("pixel-7").send().await.unwrap().status(), 202);
    let device = ground.stores.devices.get("acme", "pixel-7").await.unwrap().unwrap().number;
    let session = Uuid::now_v7();
    let claim = Claim { device, process: ProcessId(1), session, transport: Transport::Socket };
    ground.stores.sessions.beat(ProcessId(1), &[]).await.unwrap();
    ground.stores.sessions.claim(&[claim], clock::now()).await.unwrap();
    let (_, second) = refreshed(&ground, "pixel-7", first).await;
    let (_, third) = refreshed(&ground, "pixel-7", &second).await;
    problem(refresh(&ground, "pixel-7", first).await, 410, "device-revoked").await;
    let out: Vec<_> = ground.heard.put_out.lock().unwrap().iter().map(|(device, session)| (*device, session.id)).collect();
    assert_eq!(out, [(device, session)], "its session is closed, once");
    for shown in [first, &second, &third] {
        problem(refresh(&ground, "pixel-7", shown).await, 410, "device-revoked").await;
    }
    problem(ground.get("/v1/devices/pixel-7", token).await, 410, "device-revoked").await;
    problem(ground.sending("pixel-7").send().await.unwrap(), 410, "device-revoked").await;
    assert_eq!(ground.counter("warren_device_registry_changes_total", "reused"), 1.0);

    // A repeated registration gives nothing away; only a rotation lets it in again, and what it has to get is still there.
    let again: Value = ground.put("/v1/devices/pixel-7", &json!({"user": "ada"})).send().await.unwrap().json().await.unwrap();
    assert!(again.get("token").is_none() && again.get("refresh_token").is_none(), "{again}");
    let rotated = rotate(&ground, "pixel-7").await;
    problem(refresh(&ground, "pixel-7", &third).await, 401, "token-invalid").await;
    refreshed(&ground, "pixel-7", text(&rotated, "refresh_token")).await;
    assert_eq!(ground.pending("acme", "pixel-7").await.len(), 1);
}

#[tokio::test]
async fn a_revoked_device_is_not_let_in_and_keeps_its_messages() {
    let ground = start().await;
    let registered = ground.register("pixel-7").await;
    assert_eq!(ground.sending("pixel-7").send().await.unwrap().status(), 202);
    for _ in 0..2 {
        let revoked = ground.post("/v1/devices/pixel-7/revoke").send().await.unwrap();
        assert_eq!(revoked.status(), 200);
        assert!(revoked.json::<Value>().await.unwrap()["revoked_at"].is_string());
    }
    problem(refresh(&ground, "pixel-7", text(&registered, "refresh_token")).await, 410, "device-revoked").await;
    problem(ground.get("/v1/devices/pixel-7", text(&registered, "token")).await, 410, "device-revoked").await;
    problem(ground.delete("/v1/devices/pixel-7", text(&registered, "token")).await, 410, "device-revoked").await;
    problem(ground.sending("pixel-7").send().await.unwrap(), 410, "device-revoked").await;
    let shown: Value = ground.get("/v1/devices/pixel-7", &shop()).await.json().await.unwrap();
    assert_eq!((&shown["backlog"], shown["revoked_at"].is_string()), (&json!(1), true));
    // What goes to its user waits for it.
    let user = ground.post("/v1/users/ada/messages").body("x").send().await.unwrap();
    assert_eq!(user.status(), 202);
    let let_in = rotate(&ground, "pixel-7").await;
    assert_eq!(ground.get("/v1/devices/pixel-7", text(&let_in, "token")).await.status(), 200);
    assert_eq!(ground.pending("acme", "pixel-7").await.len(), 2);
}

#[tokio::test]
async fn what_is_no_refresh_token_of_the_device_is_refused() {
    let ground = start().await;
    let pixel = ground.register("pixel-7").await;
    let other = ground.register("pixel-8").await;
    let (own, others) = (text(&pixel, "refresh_token"), text(&other, "refresh_token"));
    let never = format!("pixel-7.{}", "A".repeat(43));
    for shown in ["", "x", others, &never, text(&pixel, "token"), &own.to_uppercase()] {
        problem(refresh(&ground, "pixel-7", shown).await, 401, "token-invalid").await;
    }
    problem(refresh(&ground, "nobody", own).await, 401, "token-invalid").await;
    let raw = |body: String| {
        let request = ground.client.post(ground.url("/v1/devices/pixel-7/token"));
        request.header("content-type", "application/json").body(body).send()
    };
    for (status, code, body) in [
        (400, "empty-body", ""),
        (400, "malformed-json", "{"),
        (400, "invalid-parameter", "{}"),
        (400, "invalid-parameter", "[\"x\"]"),
        (400, "invalid-parameter", "{\"refresh_token\": 7}"),
        (400, "invalid-parameter", "{\"refresh_token\": \"canary\", \"more\": 1}"),
    ] {
        let refused = problem(raw(body.to_owned()).await.unwrap(), status, code).await;
        assert!(!refused["detail"].as_str().unwrap().contains("canary"), "{refused}");
    }
    problem(raw("x".repeat(5000)).await.unwrap(), 413, "body-too-large").await;
    problem(refresh(&ground, "A", own).await, 400, "invalid-device").await;
    refreshed(&ground, "pixel-7", own).await;
}

#[tokio::test]
async fn many_at_once_get_the_same() {
    let ground = start().await;
    let first = text(&ground.register("pixel-7").await, "refresh_token").to_owned();
    let all = futures::future::join_all((0..8).map(|_| refreshed(&ground, "pixel-7", &first))).await;
    assert!(all.iter().all(|(_, next)| *next == all[0].1), "one of them may have been lost on the way");
    refreshed(&ground, "pixel-7", &all[0].1).await;
}
