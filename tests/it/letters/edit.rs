use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::Answer;
use warren_tests::wait::until;

use super::{KIND, LONG, QUEUE, Scene, smtp};
use crate::world::Keep;

async fn edit(scene: &Scene, letter: &str, key: Option<&str>, body: Vec<u8>) -> Answer {
    let admin = scene.admin();
    let request = admin.request(Method::POST, &format!("/admin/dead-letters/{letter}/edit?note=misspelt")).body(body);
    let request = if let Some(key) = key { request.header("idempotency-key", key) } else { request };
    admin.send(request).await.unwrap()
}

#[tokio::test]
async fn an_edited_letter_is_one_new_job_and_the_two_know_each_other() {
    let scene = Scene::set(Keep::Sqlite).await;
    let old = scene.die(1, smtp).await.remove(0);
    let letter = scene.open(1).await[0]["id"].as_str().unwrap().to_owned();
    // What is no JSON, or too large, changes nothing.
    for (body, status, code) in [
        (b"{\"n\":".to_vec(), 400, "malformed-json"),
        (Vec::new(), 400, "empty-body"),
        (vec![b'['; 200], 400, "too-deep"),
        (vec![b' '; (1 << 20) + 1], 413, "body-too-large"),
    ] {
        let refused = edit(&scene, &letter, Some("r1"), body).await;
        assert_eq!((refused.status, &refused.body["code"]), (status, &json!(code)), "{}", refused.body);
    }
    scene.open(1).await;

    let body = b"{ \"n\" : 1.50, \"fixed\":true}".to_vec();
    let (one, two) =
        tokio::join!(edit(&scene, &letter, Some("r1"), body.clone()), edit(&scene, &letter, Some("r1"), body.clone()));
    assert_eq!((one.status, two.status), (200, 200), "{} {}", one.body, two.body);
    assert_eq!(one.body["job_id"], two.body["job_id"], "asked twice, made once");
    assert_ne!(one.body["replayed"], two.body["replayed"]);
    let new = one.body["job_id"].as_str().unwrap().to_owned();
    let other = edit(&scene, &letter, Some("r1"), b"{}".to_vec()).await;
    assert_eq!((other.status, &other.body["code"]), (422, &json!("idempotency-key-reused")));
    for key in [Some("r2"), None] {
        let late = edit(&scene, &letter, key, body.clone()).await;
        assert_eq!((late.status, &late.body["code"]), (409, &json!("dead-letter-not-open")), "{}", late.body);
    }

    let message =
        until(LONG, "the new message", async || scene.world.vhost.get_messages(QUEUE, 2).await.into_iter().next()).await;
    assert_eq!((message.message_id(), message.body.as_slice()), (Some(new.as_str()), body.as_slice()));
    assert_eq!(scene.world.vhost.queue_depth(QUEUE).await, Some(0), "one message");
    scene.report(&new, 1, "succeeded", None).await;
    let client = scene.hub.client();
    let job = client.wait_state(&new, "succeeded", LONG).await;
    assert_eq!((&job["edited_from"], &job["kind"], &job["epoch"]), (&json!(old), &json!(KIND), &json!(1)), "{job}");
    assert_eq!(job["tags"], json!(["lot-9"]), "it is found where the old one was: {job}");
    let job = client.job(&old).await.unwrap().body;
    assert_eq!((&job["edited_to"], &job["state"]), (&json!(new), &json!("dead")), "{job}");
    let shown: Value = scene.admin().get(&format!("/admin/dead-letters/{letter}")).await.unwrap().body;
    assert_eq!(shown["state"], "redriven");
    let audit = shown["audit"].as_array().unwrap();
    assert_eq!(audit.len(), 1, "{shown}");
    assert_eq!((&audit[0]["note"], &audit[0]["actor"]), (&json!(format!("edited as job {new}: misspelt")), &json!("operator")));
    for id in [&old, &new] {
        let detail = scene.admin().get(&format!("/admin/jobs/{id}")).await.unwrap().body;
        assert!(detail["edited_from"] == old || detail["edited_to"] == new.as_str(), "{detail}");
    }
}

#[tokio::test]
async fn a_letter_that_is_no_job_cannot_be_edited_and_is_redriven_once() {
    let scene = Scene::set(Keep::Postgres).await;
    let keeper = scene.world.hub().await;
    let vhost = &scene.world.vhost;
    // A stranger's message that no queue wants any more.
    let properties = json!({"message_id": "stranger", "delivery_mode": 2, "headers": {"warren-queue": "elsewhere"}});
    assert!(vhost.publish("warren.lost", "", properties, b"hello").await);
    let letter = scene.open(1).await[0]["id"].as_str().unwrap().to_owned();
    let refused = edit(&scene, &letter, None, b"{}".to_vec()).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("not-supported-yet")), "{}", refused.body);
    vhost.declare_queue("elsewhere", json!({})).await;
    vhost.bind("warren.return", "elsewhere", "elsewhere").await;
    // Two keepers see it on its way; one of them publishes it.
    assert_eq!(scene.post(&format!("{letter}/redrive"), &json!({})).await.status, 200);
    until(LONG, "it to be moved", async || {
        let shown = scene.admin().get(&format!("/admin/dead-letters/{letter}")).await.ok()?.body;
        (shown["state"] == "redriven").then_some(())
    })
    .await;
    let messages = vhost.get_messages("elsewhere", 5).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!((messages[0].message_id(), messages[0].body.as_slice()), (Some("stranger"), b"hello".as_slice()));
    drop(keeper);
}
