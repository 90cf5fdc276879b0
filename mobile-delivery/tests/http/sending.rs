//! What is sent is there, as it was sent.

use base64::Engine;
use broker_topology::Priority;
use mobile_delivery::http::ApiOptions;
use mobile_delivery::store::Limits;
use serde_json::{Value, json};

use crate::ground::{How, accepted, problem, shop, start, start_with};

#[tokio::test]
async fn a_message_is_on_disk_as_it_was_sent() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let bytes: Vec<u8> = (0..=255).collect();
    let sent = ground
        .post("/v1/devices/pixel-7/messages")
        .header("content-type", "image/png; x=1")
        .header("warren-type", "scan.ready")
        .header("warren-ttl", "1h 30m")
        .header("warren-collapse-key", "scan")
        .header("warren-priority", "high")
        .header("warren-receipt", "true")
        .header("traceparent", trace)
        .body(bytes.clone());
    let id = accepted(sent.send().await.unwrap()).await;
    let given = ground.pending("acme", "pixel-7").await.remove(0);
    let message = &given.message;
    assert_eq!((message.id, given.seq, &message.body[..]), (id, 1, &bytes[..]));
    assert_eq!((message.sender.as_str(), message.kind.as_str()), ("shop", "scan.ready"));
    assert_eq!((message.content_type.as_str(), message.priority), ("image/png; x=1", Priority::High));
    assert_eq!((message.collapse_key.as_deref(), message.traceparent.as_deref()), (Some("scan"), Some(trace)));
    assert_eq!(given.expires_at - message.created_at, 5_400_000_000);
    assert_eq!(ground.heard.placed.lock().unwrap().len(), 1, "the relay hears of it");

    let shown: Value = ground.get(&format!("/v1/messages/{id}"), &shop()).await.json().await.unwrap();
    assert_eq!((&shown["sender"], &shown["type"], &shown["size"]), (&json!("shop"), &json!("scan.ready"), &json!(256)));
    assert_eq!(shown["counts"], json!({"queued": 1}));
    assert_eq!(shown["devices"], json!([{"device": "pixel-7", "seq": 1, "state": "queued"}]));
    assert_eq!(ground.counter("warren_device_messages_accepted_total", "device"), 1.0);
}

#[tokio::test]
async fn what_is_not_said_is_usual_and_bytes_are_opaque() {
    let ground = start().await;
    ground.register("pixel-7").await;
    for (content_type, body) in
        [("", ""), ("text/plain", "\u{0}"), ("application/json", "null"), ("application/problem+json", "{}")]
    {
        let request = ground.post("/v1/devices/pixel-7/messages").body(body);
        let request = if content_type.is_empty() { request } else { request.header("content-type", content_type) };
        accepted(request.send().await.unwrap()).await;
    }
    let given = ground.pending("acme", "pixel-7").await;
    assert_eq!(given.iter().map(|given| given.seq).collect::<Vec<_>>(), [1, 2, 3, 4], "in the order of sending");
    let first = &given[0].message;
    assert_eq!(
        (first.content_type.as_str(), first.kind.as_str(), first.priority),
        ("application/octet-stream", "", Priority::Normal)
    );
    assert_eq!(given[0].expires_at - first.created_at, 28 * 86_400_000_000);
}

#[tokio::test]
async fn a_user_gets_it_on_all_devices_but_the_one_it_comes_from() {
    let ground = start().await;
    for id in ["a", "b", "c"] {
        ground.register(id).await;
    }
    let send = |except: Option<&'static str>| {
        let request = ground.post("/v1/users/ada/messages").body("x");
        except.into_iter().fold(request, |request, id| request.header("warren-except", id)).send()
    };
    let all = accepted(send(None).await.unwrap()).await;
    let others = accepted(send(Some("b")).await.unwrap()).await;
    let of = async |id| ground.pending("acme", id).await.into_iter().map(|given| given.message.id).collect::<Vec<_>>();
    assert_eq!((of("a").await, of("b").await), (vec![all, others], vec![all]));
    let shown: Value = ground.get(&format!("/v1/messages/{all}"), &shop()).await.json().await.unwrap();
    assert_eq!((&shown["counts"], shown["devices"].as_array().unwrap().len()), (&json!({"queued": 3}), 3));
    problem(ground.post("/v1/users/eve/messages").body("x").send().await.unwrap(), 404, "no-devices").await;
    problem(ground.post(&format!("/v1/users/{}/messages", "x".repeat(129))).send().await.unwrap(), 400, "invalid-message").await;
    problem(ground.post("/v1/users/a%0Ab/messages").send().await.unwrap(), 400, "invalid-message").await;
    problem(ground.post("/v1/users/%ff/messages").send().await.unwrap(), 400, "invalid-message").await;
    problem(send(Some("-")).await.unwrap(), 400, "invalid-message").await;
    let out = ground.sending("a").header("warren-except", "b").send().await.unwrap();
    problem(out, 400, "not-supported-yet").await;
    // Any text is a user.
    let put = ground.put("/v1/devices/d", &json!({"user": "Zoë / +1?"})).send().await.unwrap();
    assert_eq!(put.status(), 201);
    accepted(ground.post("/v1/users/Zo%C3%AB%20%2F%20%2B1%3F/messages").body("x").send().await.unwrap()).await;
}

#[tokio::test]
async fn of_many_devices_only_counts_are_told() {
    let ground = start().await;
    for n in 0..21 {
        ground.register(&format!("d{n}")).await;
    }
    let id = accepted(ground.post("/v1/users/ada/messages").body("x").send().await.unwrap()).await;
    let shown: Value = ground.get(&format!("/v1/messages/{id}"), &shop()).await.json().await.unwrap();
    assert_eq!((&shown["counts"], shown.get("devices")), (&json!({"queued": 21}), None));
}

#[tokio::test]
async fn what_is_for_later_waits_for_its_time() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let later = ground.sending("pixel-7").header("warren-delay", "1h").send().await.unwrap();
    let body: Value = later.json().await.unwrap();
    assert_eq!(body["state"], "scheduled");
    let told = ground.heard.scheduled.lock().unwrap().clone();
    assert!(matches!(told[..], [due_at] if due_at > database::clock::now()), "who sends it at its time hears of it: {told:?}");
    let shown: Value = ground.get(body["links"]["self"].as_str().unwrap(), &shop()).await.json().await.unwrap();
    assert_eq!((&shown["counts"], shown["run_at"].is_string()), (&json!({"scheduled": 1}), true));
    assert!(ground.pending("acme", "pixel-7").await.is_empty());
    let at = ground.sending("pixel-7").header("warren-run-at", "2020-01-01T00:00:00Z").send().await.unwrap();
    accepted(at).await;
    assert_eq!(ground.pending("acme", "pixel-7").await.len(), 1, "a time that went by means now");
}

#[tokio::test]
async fn the_newer_of_a_collapse_key_takes_the_place_of_the_older() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let send = || ground.sending("pixel-7").header("warren-collapse-key", "score").send();
    let (older, newer) = (accepted(send().await.unwrap()).await, accepted(send().await.unwrap()).await);
    let given = ground.pending("acme", "pixel-7").await;
    assert_eq!(given.iter().map(|given| given.message.id).collect::<Vec<_>>(), [newer]);
    let shown: Value = ground.get(&format!("/v1/messages/{older}"), &shop()).await.json().await.unwrap();
    assert_eq!((&shown["devices"][0]["state"], &shown["devices"][0]["reason"]), (&json!("dropped"), &json!("collapsed")));
}

#[tokio::test]
async fn a_body_is_as_large_as_configured_and_never_over_256_kib() {
    let usual = start().await;
    usual.register("pixel-7").await;
    let send =
        |ground: &crate::ground::Ground, size: usize| ground.post("/v1/devices/pixel-7/messages").body(vec![b'x'; size]).send();
    assert_eq!(send(&usual, 65_536).await.unwrap().status(), 202);
    problem(send(&usual, 65_537).await.unwrap(), 413, "body-too-large").await;
    let options = ApiOptions { body_limit: 10 << 20, ..ApiOptions::default() };
    let large = start_with(How { options, ..How::default() }).await;
    large.register("pixel-7").await;
    assert_eq!(send(&large, 262_144).await.unwrap().status(), 202);
    problem(send(&large, 262_145).await.unwrap(), 413, "body-too-large").await;
    let coded = base64::engine::general_purpose::STANDARD.encode(vec![0u8; 65_537]);
    let batch = usual.post("/v1/messages").json(&json!([{"device": "pixel-7", "data_base64": coded}])).send().await.unwrap();
    let batch: Value = batch.json().await.unwrap();
    assert_eq!((&batch["items"][0]["status"], &batch["items"][0]["problem"]["code"]), (&json!(413), &json!("body-too-large")));
}

#[tokio::test]
async fn a_tenant_whose_devices_have_too_much_to_get_is_told_to_wait() {
    let limits = Limits { tenant_messages: 2, ..Limits::default() };
    let ground = start_with(How { limits, ..How::default() }).await;
    ground.register("pixel-7").await;
    for _ in 0..2 {
        accepted(ground.sending("pixel-7").send().await.unwrap()).await;
    }
    let full = ground.sending("pixel-7").send().await.unwrap();
    assert_eq!(full.headers()["retry-after"], "30");
    problem(full, 507, "device-backlog-full").await;
    assert_eq!(ground.counter("warren_device_requests_refused_total", "device-backlog-full"), 1.0);
}

#[tokio::test]
async fn a_device_that_is_full_loses_its_oldest() {
    let limits = Limits { device_messages: 2, ..Limits::default() };
    let ground = start_with(How { limits, ..How::default() }).await;
    ground.register("pixel-7").await;
    let first = accepted(ground.sending("pixel-7").send().await.unwrap()).await;
    for _ in 0..2 {
        accepted(ground.sending("pixel-7").send().await.unwrap()).await;
    }
    let shown: Value = ground.get(&format!("/v1/messages/{first}"), &shop()).await.json().await.unwrap();
    assert_eq!((&shown["devices"][0]["state"], &shown["devices"][0]["reason"]), (&json!("dropped"), &json!("overflow")));
}
