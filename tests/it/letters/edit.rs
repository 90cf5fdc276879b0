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
async fn a_letter_that_is_no_job_is_redriven_once() {
    let scene = Scene::set(Keep::Postgres).await;
    let keeper = scene.world.hub().await;
    let vhost = &scene.world.vhost;
    // A stranger's message that no queue wants any more.
    let properties = json!({"message_id": "stranger", "delivery_mode": 2, "headers": {"warren-queue": "elsewhere"}});
    assert!(vhost.publish("warren.lost", "", properties, b"hello").await);
    let letter = scene.open(1).await[0]["id"].as_str().unwrap().to_owned();
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

#[tokio::test]
async fn an_edited_letter_of_a_stranger_is_one_new_message_that_names_the_old_one() {
    let scene = Scene::set(Keep::Postgres).await;
    let keeper = scene.world.hub().await;
    let vhost = &scene.world.vhost;
    vhost.declare_queue("elsewhere", json!({})).await;
    vhost.bind("warren.return", "elsewhere", "elsewhere").await;
    let headers = json!({"warren-queue": "elsewhere", "warren-tenant": "acme", "cloudEvents_id": "stranger", "mine": "kept"});
    let properties = json!({"message_id": "stranger", "type": "a.thing", "content_type": "application/json", "delivery_mode": 2, "headers": headers});
    assert!(vhost.publish("warren.lost", "", properties, b"{\"n\":1").await);
    let letter = scene.open(1).await[0]["id"].as_str().unwrap().to_owned();
    let broken = edit(&scene, &letter, Some("r1"), b"{\"n\":".to_vec()).await;
    assert_eq!((broken.status, &broken.body["code"]), (400, &json!("malformed-json")), "{}", broken.body);
    scene.open(1).await;

    let body = b"{ \"n\" : 1.0}".to_vec();
    let (one, two) =
        tokio::join!(edit(&scene, &letter, Some("r1"), body.clone()), edit(&scene, &letter, Some("r1"), body.clone()));
    assert_eq!((one.status, two.status), (200, 200), "{} {}", one.body, two.body);
    assert_eq!((&one.body["message_id"], &one.body["job_id"]), (&two.body["message_id"], &Value::Null), "asked twice, made once");
    assert_ne!(one.body["replayed"], two.body["replayed"]);
    let new = one.body["message_id"].as_str().unwrap().to_owned();
    let other = edit(&scene, &letter, Some("r1"), b"{}".to_vec()).await;
    assert_eq!((other.status, &other.body["code"]), (422, &json!("idempotency-key-reused")));
    let late = edit(&scene, &letter, None, body.clone()).await;
    assert_eq!((late.status, &late.body["code"]), (409, &json!("dead-letter-not-open")), "{}", late.body);

    until(LONG, "it to be on its way", async || {
        let shown = scene.admin().get(&format!("/admin/dead-letters/{new}")).await.ok()?.body;
        (shown["state"] == "redriven").then_some(())
    })
    .await;
    let messages = vhost.get_messages("elsewhere", 5).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!((messages[0].message_id(), &messages[0].body), (Some(new.as_str()), &body));
    for (name, value) in
        [("warren-edited-from", "stranger"), ("cloudEvents_id", &new), ("warren-tenant", "acme"), ("mine", "kept")]
    {
        assert_eq!(*messages[0].header(name), *value, "{name}: {:?}", messages[0]);
    }
    assert_eq!(
        (&messages[0].properties["type"], &messages[0].properties["content_type"]),
        (&json!("a.thing"), &json!("application/json"))
    );
    for (id, note) in
        [(&letter, format!("edited as message {new}: misspelt")), (&new, format!("edited from letter {letter}: misspelt"))]
    {
        let shown = scene.admin().get(&format!("/admin/dead-letters/{id}")).await.unwrap().body;
        assert_eq!(
            (&shown["state"], &shown["audit"][0]["note"], &shown["audit"][0]["actor"]),
            (&json!("redriven"), &json!(note), &json!("operator"))
        );
    }
    // What was answered once is answered so again.
    let again = edit(&scene, &letter, Some("r1"), body).await;
    assert_eq!((again.status, &again.body["message_id"], &again.body["replayed"]), (200, &json!(new), &json!(true)));
    drop(keeper);
}

/// A submission that could not be read is mended, and is a job then.
#[tokio::test]
async fn a_submission_that_was_turned_down_is_edited_and_becomes_a_job() {
    let scene = Scene::set(Keep::Sqlite).await;
    let properties = json!({"type": KIND, "message_id": "m-1", "delivery_mode": 2, "headers": {"warren-tenant": "acme", "warren-delay": "1h"}});
    assert!(scene.world.vhost.publish("warren.submit", "warren.submit", properties, b"{\"n\":").await);
    let letter = scene.open(1).await[0]["id"].as_str().unwrap().to_owned();
    let said = scene.dead(&["edit", &letter, "--body", "{\"n\":1}", "--request-id", "r1", "--json"]).await.json();
    let told = scene.dead(&["edit", &letter, "--body", "{\"n\":1}", "--request-id", "r1"]).await;
    assert!(told.out.contains(said["message_id"].as_str().unwrap()) && told.out.contains("asked before"), "{}", told.out);
    let job = until(LONG, "the job", async || {
        let jobs = scene.admin().get(&format!("/admin/jobs?kind={KIND}")).await.ok()?.body["items"].as_array()?.clone();
        assert!(jobs.len() <= 1, "{jobs:?}");
        jobs.into_iter().next()
    })
    .await;
    assert_eq!((&job["state"], &job["tenant"]), (&json!("scheduled"), &json!("acme")), "when it runs was said before");
}
