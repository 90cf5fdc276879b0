use serde_json::{Value, json};
use sqlx::Connection;
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

#[tokio::test]
async fn what_consumers_may_have_forgotten_is_redriven_only_by_force() {
    let scene = Scene::set(Keep::Postgres).await;
    let jobs = scene.die(1, smtp).await;
    let letter = scene.open(1).await[0]["id"].as_str().unwrap().to_owned();
    // Its keeper was away for long: the job died eight days before the letter was found.
    let mut database = sqlx::PgConnection::connect(&scene.world.store_url).await.unwrap();
    let days = 8_i64 * 86_400 * 1_000_000;
    let job: uuid::Uuid = jobs[0].parse().unwrap();
    let aged = sqlx::query("UPDATE jobs SET ended_at = ended_at - $2 WHERE id = $1").bind(job).bind(days);
    assert_eq!(aged.execute(&mut database).await.unwrap().rows_affected(), 1);
    let refused = scene.post(&format!("{letter}/redrive"), &json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("too-old-to-redrive")), "{}", refused.body);
    let forced = scene.post(&format!("{letter}/redrive"), &json!({"force": true})).await;
    assert_eq!(forced.status, 200, "{}", forced.body);
}

#[tokio::test]
async fn names_of_any_length_stop_nobody() {
    let scene = Scene::set(Keep::Postgres).await;
    let vhost = &scene.world.vhost;
    let endless: String = (0..200).map(|_| uuid::Uuid::now_v7().simple().to_string()).collect();
    let headers = json!({"warren-tenant": endless, "warren-queue": endless, "warren-reason": endless, "cloudEvents_id": endless});
    for exchange in ["warren.lost", "warren.submit", "warren.results"] {
        let key = if exchange == "warren.lost" { "" } else { exchange };
        let properties = json!({"type": "test.letters", "delivery_mode": 2, "headers": headers});
        assert!(vhost.publish(exchange, key, properties, b"{}").await);
        let after = json!({"message_id": "after", "type": "no.such.kind", "delivery_mode": 2, "headers": {}});
        assert!(vhost.publish(exchange, key, after, b"nothing").await);
    }
    let letters = scene.open(6).await;
    let long: Vec<_> =
        letters.iter().filter(|letter| letter["tenant"].as_str().is_some_and(|tenant| tenant.len() > 200)).collect();
    assert_eq!(long.len(), 3, "{letters:?}");
    assert!(long.iter().all(|letter| letter["tenant"].as_str().unwrap().len() <= 255));
}
