//! A panic is a failed attempt like any other: counted, tried again, given up, and the process lives.

use serde_json::json;
use warren_tests::hub::{HubClient, HubProcess};
use warren_tests::process::Process;

use super::{KIND, Scene, body, letters, submit};
use crate::world::{LONG, settled};

const PANIC: &[u8] = b"{\"do\": \"panic\" }";

async fn exhausted(scene: &Scene, hub: &HubProcess, client: &HubClient) {
    let id = submit(client, PANIC).await;
    let job = client.wait_state(&id, "dead", LONG).await;
    assert_eq!((&job["reason"], &job["attempt"]), (&json!("exhausted"), &json!(2)), "{job}");
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{job}");
    for (number, attempt) in (1..).zip(attempts) {
        assert_eq!((&attempt["attempt"], &attempt["outcome"]), (&json!(number), &json!("failed")), "{attempt}");
        let error = attempt["error"].as_str().unwrap();
        let said = format!("panic: the handler panicked: attempt {number} ends in a panic, as the message asks");
        assert_eq!(error, said, "the panic's own message");
    }
    assert_eq!(job["interrupted"], 0, "nothing was cut short: {job}");
    assert_eq!(scene.starts(&id).await, 2);
    let (admin, letters) = letters(hub, 1).await;
    assert_eq!((&letters[0]["reason"], &letters[0]["job_id"]), (&json!("exhausted"), &json!(id)), "{letters:?}");
    assert_eq!(body(&admin, &letters[0]).await, PANIC);
    let next = client.accepted(KIND, &json!({"do": "work"})).await;
    client.wait_state(&next, "succeeded", LONG).await;
}

fn lives(process: &mut Process) {
    assert!(process.poll().is_none(), "it lives: {}", process.tail());
}

#[tokio::test]
async fn a_panic_in_the_hub_is_a_failed_attempt_and_the_hub_lives() {
    let scene = Scene::set("rust").await;
    let mut hub = HubProcess::start(&scene.options()).await;
    settled(&hub).await;
    exhausted(&scene, &hub, &hub.client()).await;
    lives(hub.process());
}

#[tokio::test]
async fn a_panic_in_a_service_is_a_failed_attempt_and_the_service_lives() {
    let scene = Scene::set("amqp").await;
    let hub = HubProcess::start(&scene.options()).await;
    settled(&hub).await;
    let mut service = scene.service("service");
    exhausted(&scene, &hub, &hub.client()).await;
    lives(&mut service);
}
