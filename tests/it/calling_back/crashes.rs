//! What a process was calling when it died is called again; what ended while nobody could call is told later.

use warren_tests::downstream::Downstream;
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::wait::until;

use super::{accepted, options, settings, stands};
use crate::http_worker::Stage;
use crate::world::{Keep, LONG, settled};

#[tokio::test]
async fn killed_between_the_call_and_its_record_it_is_called_again_under_the_same_id() {
    let receiver = Downstream::start(Downstream::status(200)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let toml = settings(&[&receiver], "timeout = \"1s\"\n");
    let env = vec![("WARREN_CRASH_POINT".to_owned(), "K15".to_owned())];
    let mut hub = HubProcess::start(&HubOptions { env, ..options(&stage, &toml) }).await;
    let client = hub.client();
    let id = accepted(&client, "demo.echo", &receiver.origin()).await;
    hub.crashed(LONG).await;
    assert_eq!(receiver.asked().len(), 1, "it was called");
    hub.start_again_with(&[]).await;
    stands(&client, &id, "delivered").await;
    let asked = until(LONG, "the second call", async || Some(receiver.asked()).filter(|asked| asked.len() > 1)).await;
    assert_eq!((asked.len(), asked[0].header("webhook-id")), (2, asked[1].header("webhook-id")));
    assert_eq!(asked[0].body, asked[1].body);
}

#[tokio::test]
async fn of_two_processes_one_calls_and_what_ended_without_any_is_told_by_the_first_that_can() {
    let receiver = Downstream::start(Downstream::status(200)).await;
    let stage = Stage::set(Keep::Postgres).await;
    let toml = settings(&[&receiver], "");
    // The end is the door's own doing: nobody with the role `worker` is there to see it.
    let door = HubOptions { roles: vec!["api".to_owned()], ..options(&stage, &toml) };
    let door = HubProcess::start(&door).await;
    settled(&door).await;
    let client = door.client();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let id = accepted(&client, "demo.noop", &receiver.origin()).await;
        client.send(client.request(reqwest::Method::POST, &format!("/v1/jobs/{id}/cancel"))).await.unwrap();
        ids.push(id);
    }
    assert!(receiver.asked().is_empty());
    let all = options(&stage, &toml);
    let (one, other) = tokio::join!(HubProcess::start(&all), HubProcess::start(&all));
    for id in &ids {
        stands(&client, id, "delivered").await;
    }
    let mut told: Vec<String> = receiver.asked().iter().map(|asked| asked.header("webhook-id").to_owned()).collect();
    told.sort();
    told.dedup();
    assert_eq!((told.len(), receiver.asked().len()), (20, 20), "each once");
    drop((one, other));
}
