//! Pauses.

use super::*;

async fn pause(hub: &HubProcess, what: &str) -> Answer {
    let client = operator(hub);
    let request = client.request(Method::POST, &format!("/admin/kinds/{KIND}/{what}"));
    client.send(request.json(&json!({"note": "the warehouse is down"}))).await.unwrap()
}

/// Waits until a process knows how the kind stands.
async fn stands(hub: &HubProcess, paused: bool) {
    let client = hub.client();
    until_true(Duration::from_secs(10), "a process to see it", async || {
        client.get(&format!("/v1/kinds/{KIND}")).await.is_ok_and(|kind| kind.body["paused"] == paused)
    })
    .await;
}

#[tokio::test]
async fn a_paused_kind_is_accepted_everywhere_and_delivered_nowhere_until_it_is_resumed() {
    let stage = Stage::new().await;
    let (one, mut two) = (stage.hub(&[]).await, stage.hub(&[]).await);
    let answer = pause(&one, "pause").await;
    assert_eq!((answer.status, &answer.body["paused"], &answer.body["actor"]), (200, &json!(true), &json!("olga")));
    stands(&two, true).await;

    let mut ids = Vec::new();
    for hub in [&one, &two] {
        for _ in 0..5 {
            ids.push(hub.client().accepted(KIND, &json!({"do": "work"})).await);
        }
    }
    // Other kinds go on: their jobs reach the broker.
    let other = one.client().accepted("demo.other", &json!({})).await;
    one.client().wait_state(&other, "queued", LONG).await;

    // A restart forgets nothing.
    two.terminate(LONG).await;
    two.start_again().await;
    settled(&two).await;
    let kinds = operator(&two).get("/admin/kinds").await.unwrap().body;
    let kind = kinds["items"].as_array().unwrap().iter().find(|kind| kind["kind"] == KIND).unwrap().clone();
    assert_eq!((&kind["paused"], &kind["note"]), (&json!(true), &json!("the warehouse is down")), "{kind}");
    let other = two.client().accepted("demo.other", &json!({})).await;
    two.client().wait_state(&other, "queued", LONG).await;
    for id in &ids {
        assert_eq!(one.client().job(id).await.unwrap().state(), Some("accepted"));
    }
    assert_eq!((stage.all_starts().await, stage.vhost.queue_depth(QUEUE).await), (0, Some(0)), "nothing was published");

    assert_eq!(pause(&two, "resume").await.body["paused"], false);
    for id in &ids {
        one.client().wait_state(id, "succeeded", LONG).await;
    }
    assert_eq!(stage.all_starts().await, 10, "each was run once");
}

#[tokio::test]
async fn a_dead_letter_of_a_paused_kind_is_there_to_be_seen() {
    let stage = Stage::new().await;
    let hub = stage.hub(&["api", "keeper", "worker"]).await;
    let client = hub.client();
    let id = client.accepted("demo.served", &json!({})).await;
    client.wait_state(&id, "queued", LONG).await;
    let admin = operator(&hub);
    assert_eq!(admin.send(admin.request(Method::POST, "/admin/kinds/demo.served/pause")).await.unwrap().status, 200);
    let waiting = client.accepted("demo.served", &json!({})).await;

    // A service goes on with what is in its queue, and says so over the broker.
    let report = json!({"job": id, "epoch": 1, "attempt": 1, "outcome": "rejected", "failure": {"code": "no", "message": "never"},
        "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z", "worker": "served"});
    let properties = json!({"type": "warren.result", "message_id": format!("{id}/1/1"), "delivery_mode": 2});
    assert!(stage.vhost.publish("warren.results", "warren.results", properties, report.to_string().as_bytes()).await);
    client.wait_state(&id, "dead", LONG).await;
    until_true(LONG, "its letter", async || {
        admin.get("/admin/dead-letters?queue=jobs.demo.served").await.unwrap().body["items"][0]["reason"] == "rejected"
    })
    .await;
    assert_eq!(client.job(&waiting).await.unwrap().state(), Some("accepted"), "work waits for the resume");
}

#[tokio::test]
async fn at_a_pause_what_runs_goes_on_and_what_was_not_started_is_given_back() {
    let stage = Stage::new().await;
    let hub = stage.hub(&[]).await;
    let client = hub.client();
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(client.accepted(KIND, &json!({"do": "wait"})).await);
    }
    until_true(LONG, "two to run", async || stage.all_starts().await == 2).await;
    // Two run, two are prefetched, two are in the queue.
    until_true(LONG, "the prefetch to be used", async || stage.vhost.queue_depth(QUEUE).await == Some(2)).await;
    pause(&hub, "pause").await;
    until_true(LONG, "what was not started to be back", async || stage.vhost.queue_depth(QUEUE).await == Some(4)).await;
    let states = async || {
        let mut states = Vec::new();
        for id in &ids {
            states.push(client.job(id).await.unwrap().state().unwrap().to_owned());
        }
        states.sort();
        states
    };
    assert_eq!(states().await, ["queued", "queued", "queued", "queued", "running", "running"]);
    // Those that run end, and nothing takes their place.
    for id in &ids {
        if client.job(id).await.unwrap().state() == Some("running") {
            post(&client, &format!("/v1/jobs/{id}/cancel")).await;
            client.wait_state(id, "cancelled", LONG).await;
        }
    }
    let no = warren_tests::wait::within(Duration::from_secs(3), async || (stage.all_starts().await > 2).then_some(()));
    assert!(no.await.is_none(), "nothing is started while the kind is paused");

    pause(&hub, "resume").await;
    until_true(LONG, "the next two to run", async || stage.all_starts().await == 4).await;
    // Those that wait first: a slot that is freed would be theirs.
    for state in ["queued", "running"] {
        for id in &ids {
            if client.job(id).await.unwrap().state() == Some(state) {
                post(&client, &format!("/v1/jobs/{id}/cancel")).await;
            }
        }
    }
    until_true(LONG, "all to be cancelled", async || states().await.iter().all(|state| state == "cancelled")).await;
    assert_eq!(stage.all_starts().await, 4, "the last two were never run");
}

#[tokio::test]
async fn only_an_operator_of_all_tenants_pauses_and_only_what_there_is() {
    let stage = Stage::new().await;
    let hub = stage.hub(&["api"]).await;
    let path = format!("/admin/kinds/{KIND}/pause");
    let one_tenant = post(&hub.admin(), &path).await;
    assert_eq!((one_tenant.status, one_tenant.code()), (403, Some("scope-missing")), "{}", one_tenant.body);
    let unknown = post(&operator(&hub), "/admin/kinds/nobody.knows/pause").await;
    assert_eq!((unknown.status, unknown.code()), (404, Some("unknown-kind")), "{}", unknown.body);
    let client = operator(&hub);
    let wordy = client.request(Method::POST, &path).json(&json!({"note": "x".repeat(3000)}));
    assert_eq!(client.send(wordy).await.unwrap().code(), Some("invalid-parameter"));
    assert_eq!(hub.client().get(&format!("/v1/kinds/{KIND}")).await.unwrap().body["paused"], false);
}

#[tokio::test]
async fn a_kind_paused_and_resumed_at_once_is_consumed_by_one_who_reads() {
    let stage = Stage::new().await;
    let hub = stage.hub(&[]).await;
    for round in 0..60 {
        // A subscription is met by the next word at every stage of its opening.
        assert_eq!(pause(&hub, "pause").await.status, 200);
        tokio::time::sleep(Duration::from_millis(round % 7)).await;
        assert_eq!(pause(&hub, "resume").await.status, 200);
        tokio::time::sleep(Duration::from_millis(round * 3 % 11)).await;
    }
    until_true(LONG, "one consumer", async || stage.vhost.consumers(QUEUE).await == Some(1)).await;
    for _ in 0..5 {
        let id = hub.client().accepted(KIND, &json!({"do": "work"})).await;
        hub.client().wait_state(&id, "succeeded", LONG).await;
    }
    assert_eq!(stage.vhost.consumers(QUEUE).await, Some(1));
}
