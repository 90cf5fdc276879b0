//! Jobs submitted by message: any program that can publish can have a job, once per message id.

mod apart;
mod devices;

use serde_json::{Value, json};
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::wait::{until, until_true};

use crate::world::{Keep, LONG, World, settled};

const CAREFUL: &str = r#"
[[kind]]
name = "test.careful"
schema = "SCHEMA"
"#;

/// Publishes to `warren.submit` as a foreign program would.
async fn publish(world: &World, kind: &str, id: &str, more: Value, body: &[u8]) {
    let mut properties = json!({"type": kind, "message_id": id, "delivery_mode": 2});
    properties.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    assert!(world.vhost.publish("warren.submit", "warren.submit", properties, body).await, "no queue took it");
}

fn headers(more: Value) -> Value {
    let mut headers = json!({"cloudEvents_source": "/warren/billing", "warren-tenant": "acme"});
    headers.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({ "headers": headers })
}

/// Headers of a message that says it is no JSON.
fn typed() -> Value {
    let mut properties = headers(json!({}));
    properties["content_type"] = json!("text/plain");
    properties
}

#[tokio::test]
async fn a_message_becomes_one_job_and_what_never_can_is_kept_with_its_reason() {
    let world = World::new(Keep::Postgres).await;
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("careful.json");
    std::fs::write(&schema, r#"{"type": "object", "required": ["n"]}"#).unwrap();
    let options = world.options();
    let extra = format!("{}{}", options.extra_toml, CAREFUL.replace("SCHEMA", schema.to_str().unwrap()));
    let mut hub = HubProcess::start(&HubOptions { extra_toml: extra, ..options }).await;
    settled(&hub).await;
    let admin = hub.admin();

    for _ in 0..3 {
        publish(&world, "demo.echo", "m-1", headers(json!({})), b"{\"n\":1}").await;
    }
    publish(&world, "demo.echo", "m-2", headers(json!({"warren-delay": "1h", "warren-tags": "later, two"})), b"2").await;
    let bad: [(&str, &str, Value, &[u8]); 10] = [
        ("unknown-kind", "demo.eco", headers(json!({})), b"{}"),
        ("malformed-json", "demo.echo", headers(json!({})), b"{\0"),
        ("schema-violation", "test.careful", headers(json!({})), b"{}"),
        ("invalid-timing", "demo.echo", headers(json!({"warren-delay": "-1s"})), b"{}"),
        ("invalid-priority", "demo.echo", headers(json!({"warren-priority": "high"})), b"{}"),
        ("invalid-callback", "demo.echo", headers(json!({"warren-callback": "https://169.254.169.254/"})), b"{}"),
        ("callback-secret-missing", "demo.echo", headers(json!({"warren-callback": "https://example.com/"})), b"{}"),
        ("invalid-tags", "demo.echo", headers(json!({"warren-tags": "no tag"})), b"{}"),
        ("unsupported-media-type", "demo.echo", typed(), b"{}"),
        ("idempotency-key-reused", "demo.echo", headers(json!({})), b"{\"n\":2}"),
    ];
    for (code, kind, more, body) in &bad {
        let id = if *code == "idempotency-key-reused" { "m-1" } else { code };
        publish(&world, kind, id, more.clone(), body).await;
    }

    let letters = until(LONG, "every message of no use to be a dead letter", async || {
        let page = admin.get("/admin/dead-letters?queue=warren.submit&limit=100").await.ok()?.body;
        let letters = page["items"].as_array()?.clone();
        (letters.len() == bad.len()).then_some(letters)
    })
    .await;
    for (code, kind, _, body) in &bad {
        let letter = letters.iter().find(|letter| letter["reason"] == *code).unwrap_or_else(|| panic!("{code}: {letters:?}"));
        assert_eq!(letter["kind"], *kind);
        assert_eq!(letter["size"], json!(body.len()), "{letter}");
    }

    let jobs = until(LONG, "both jobs", async || {
        let jobs = admin.get("/admin/jobs?kind=demo.echo").await.ok()?.body["items"].as_array()?.clone();
        (jobs.len() == 2 && jobs.iter().any(|job| job["state"] == "succeeded")).then_some(jobs)
    })
    .await;
    let states: Vec<&str> = jobs.iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert!(states.contains(&"scheduled"), "{jobs:?}");
    assert!(jobs.iter().all(|job| job["tenant"] == "acme"));
    let tagged = admin.get("/admin/jobs?tag=two,later").await.unwrap().body;
    assert_eq!((&tagged["items"][0]["state"], &tagged["items"][0]["tags"]), (&json!("scheduled"), &json!(["later", "two"])));
    let id = jobs.iter().find(|job| job["state"] == "succeeded").unwrap()["id"].as_str().unwrap().to_owned();
    let shown = admin.get(&format!("/admin/jobs/{id}")).await.unwrap().body;
    assert_eq!(shown["payload"]["subject"], "/warren/billing", "{shown}");

    // A message that comes again is not held against a schema that came since.
    publish(&world, "test.careful", "m-3", headers(json!({})), b"{\"n\":1}").await;
    let careful = async || admin.get("/admin/jobs?kind=test.careful").await.unwrap().body["items"].as_array().unwrap().len();
    until_true(LONG, "its job", async || careful().await == 1).await;
    std::fs::write(&schema, r#"{"type": "object", "required": ["m"]}"#).unwrap();
    hub.process().signal(nix::sys::signal::Signal::SIGHUP);
    let client = hub.client();
    until_true(LONG, "the new schema", async || {
        client.get("/v1/kinds/test.careful").await.unwrap().body["schema"]["required"] == json!(["m"])
    })
    .await;
    publish(&world, "test.careful", "m-3", headers(json!({})), b"{\"n\":1}").await;
    publish(&world, "test.careful", "m-4", headers(json!({})), b"{\"n\":1}").await;
    until_true(LONG, "the new one to be turned down", async || {
        let page = admin.get("/admin/dead-letters?queue=warren.submit&limit=100").await.unwrap().body;
        page["items"].as_array().unwrap().iter().any(|letter| letter["message_id"] == "m-4")
    })
    .await;
    let page = admin.get("/admin/dead-letters?queue=warren.submit&limit=100").await.unwrap().body;
    assert_eq!((page["items"].as_array().unwrap().len(), careful().await), (bad.len() + 1, 1), "and the old one is its job");
}

#[tokio::test]
async fn a_submission_that_was_turned_down_is_put_back_when_its_cause_is_gone() {
    let world = World::new(Keep::Postgres).await;
    let mut hub = world.hub().await;
    publish(&world, "test.later", "m-1", headers(json!({"warren-tags": "kept"})), b"{}").await;
    let first = open_letter(&hub).await;
    redrive(&hub, &first).await;
    let letter = open_letter(&hub).await;
    assert_ne!(letter["id"], first["id"], "turned down again, it is kept again");
    hub.terminate(LONG).await;

    let options = world.options();
    let extra = format!("{}\n[[kind]]\nname = \"test.later\"\nworker = \"amqp\"\n", options.extra_toml);
    let hub = HubProcess::start(&HubOptions { extra_toml: extra, ..options }).await;
    settled(&hub).await;
    redrive(&hub, &letter).await;
    let admin = hub.admin();
    until(LONG, "the job", async || {
        let jobs = admin.get("/admin/jobs?kind=test.later").await.ok()?.body["items"].as_array()?.clone();
        (jobs.len() == 1 && jobs[0]["tags"] == json!(["kept"])).then_some(())
    })
    .await;
}

async fn open_letter(hub: &HubProcess) -> Value {
    until(LONG, "an open letter", async || {
        let page = hub.admin().get("/admin/dead-letters?queue=warren.submit&state=open").await.ok()?.body;
        page["items"].as_array()?.first().cloned()
    })
    .await
}

async fn redrive(hub: &HubProcess, letter: &Value) {
    let admin = hub.admin();
    let path = format!("/admin/dead-letters/{}/redrive", letter["id"].as_str().unwrap());
    let answer = admin.send(admin.request(reqwest::Method::POST, &path).json(&json!({"note": "again"}))).await.unwrap();
    assert!(answer.status < 300, "{}", answer.body);
}
