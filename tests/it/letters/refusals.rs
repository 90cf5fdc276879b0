use serde_json::{Value, json};
use warren_tests::hub::{ALL_SCOPES, HubClient, token};

use super::{Scene, smtp};
use crate::world::Keep;

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_done() {
    let scene = Scene::set(Keep::Sqlite).await;
    scene.die(2, smtp).await;
    scene.group(2).await;
    let frozen = scene.post("selections", &json!({})).await;
    assert_eq!((frozen.status, &frozen.body["count"]), (201, &json!(2)));
    let id = frozen.body["id"].as_str().unwrap();
    let unknown = "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77";
    let long = "x".repeat(201);
    let bad: [(&str, Value, u16, &str, &str); 12] = [
        ("selections", json!({"fingerprint": "49956dcea553776g"}), 400, "invalid-parameter", "16 hex digits"),
        ("selections", json!({"text": ""}), 400, "invalid-parameter", "1 to 200 bytes"),
        ("selections", json!({"text": long}), 400, "invalid-parameter", "1 to 200 bytes"),
        ("selections", json!({"since": "yesterday"}), 400, "invalid-parameter", "`since` is no time"),
        (
            "selections",
            json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
            400,
            "invalid-parameter",
            "after",
        ),
        ("selections", json!({"stat": "open"}), 400, "invalid-parameter", "stat"),
        ("selections/x/redrive", json!({}), 404, "selection-not-found", "freeze"),
        (&format!("selections/{unknown}/redrive"), json!({}), 404, "selection-not-found", "freeze"),
        (&format!("selections/{id}/redrive"), json!({"rate": 0}), 400, "invalid-parameter", "1 to 1000"),
        (&format!("selections/{id}/redrive"), json!({"rate": 1001}), 400, "invalid-parameter", "1 to 1000"),
        (&format!("selections/{id}/discard"), json!({}), 400, "invalid-parameter", "reason"),
        (&format!("selections/{id}/discard"), json!({"reason": " "}), 400, "invalid-parameter", "reason"),
    ];
    for (path, body, status, code, says) in bad {
        let answer = scene.post(path, &body).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{path} {body}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(says), "{path} {body}: {}", answer.body);
    }
    for query in [
        "dead-letters?fingerprint=x",
        "dead-letters?until=x",
        "dead-letters/groups?state=open",
        "audit?letter=x",
        "audit?since=1",
    ] {
        let answer = scene.admin().get(&format!("/admin/{query}")).await.unwrap();
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid-parameter")), "{query}: {}", answer.body);
    }

    // Another tenant's operator sees nothing of it, and cannot act on it.
    let stranger = HubClient::new(scene.hub.admin_url(), Some(token("other", "eve", ALL_SCOPES)));
    for path in ["dead-letters/groups", "dead-letters", "audit"] {
        assert_eq!(stranger.get(&format!("/admin/{path}")).await.unwrap().body["items"], json!([]), "{path}");
    }
    let post = async |path: &str, body: Value| {
        stranger.send(stranger.request(reqwest::Method::POST, &format!("/admin/dead-letters/{path}")).json(&body)).await.unwrap()
    };
    assert_eq!(stranger.get(&format!("/admin/dead-letters/selections/{id}")).await.unwrap().status, 404);
    assert_eq!(post(&format!("selections/{id}/redrive"), json!({})).await.status, 404);
    assert_eq!(post("selections", json!({"tenant": "acme"})).await.status, 400);
    assert_eq!(post("selections", json!({})).await.body["count"], 0);
    let selection = scene.selection(id).await.unwrap();
    assert!(selection.get("action").is_none() && selection["waiting"] == 2, "{selection}");
    scene.open(2).await;
}
