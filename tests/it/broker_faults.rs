//! The broker dies, hangs, is away, takes nothing. The endpoint goes on answering 202 until the backlog limit, and every 202 ends.

mod away;

use std::time::{Duration, Instant};

use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::hub::HubClient;
use warren_tests::postgres::Postgres;
use warren_tests::wait::{until, until_true};

use crate::pressure::Pressure;
use crate::world::{Keep, LONG, World};

/// How long a caller may wait while the broker is in trouble: it is not asked on the way to a 202.
const QUICK: Duration = Duration::from_secs(2);

fn assert_quick_and_accepted(pressure: &Pressure<'_>, from: Instant, to: Instant) {
    let during = pressure.sent_between(from, to);
    assert!(during.len() > 20, "hardly anything was sent meanwhile: {}", during.len());
    for seen in during {
        assert!(seen.status == Some(202) && seen.took < QUICK, "the broker's trouble reached a caller: {seen:?}");
    }
}

#[tokio::test]
async fn a_broker_killed_under_load_loses_and_doubles_nothing() {
    let broker = Broker::dedicated().await;
    let world = World::on(&broker, Postgres::shared().await, Keep::Postgres).await;
    let mut hub = world.hub().await;
    let client = hub.client();
    let mut shop = world.shop(None);
    let pressure = Pressure::new(&world, vec![client.clone()], "killed", Duration::from_millis(300));
    pressure
        .during(async {
            pressure.more_accepted(50).await;
            broker.sync_declarations().await;
            for _ in 0..2 {
                pressure.more_accepted(60).await;
                broker.kill9();
                let killed = Instant::now();
                pressure.more_accepted(60).await;
                assert_quick_and_accepted(&pressure, killed, Instant::now());
                broker.start_again().await;
                // Under way again before the next blow.
                let id = client.accepted("demo.echo", &json!({})).await;
                client.wait_state(&id, "succeeded", LONG).await;
            }
        })
        .await;
    world.assert_clean(&client).await;
    assert!(hub.process().poll().is_none() && shop.poll().is_none(), "nobody exits because a broker does");
}

/// Its sockets stay open and say nothing; what was written to them is read when it goes on, long after it was published again.
#[tokio::test]
async fn a_broker_that_stands_still_for_forty_seconds_loses_and_doubles_nothing() {
    let broker = Broker::dedicated().await;
    let world = World::on(&broker, Postgres::shared().await, Keep::Postgres).await;
    let hub = world.hub().await;
    let client = hub.client();
    let _shop = world.shop(None);
    let pressure = Pressure::new(&world, vec![client.clone()], "still", Duration::from_millis(250));
    pressure
        .during(async {
            pressure.more_accepted(50).await;
            broker.stop_signal();
            let stopped = Instant::now();
            tokio::time::sleep(Duration::from_secs(40)).await;
            assert_quick_and_accepted(&pressure, stopped, Instant::now());
            broker.continue_signal();
            pressure.more_accepted(50).await;
        })
        .await;
    world.assert_clean(&client).await;
}

async fn health(operator: &HubClient) -> serde_json::Value {
    operator.get("/health").await.expect("the hub answers").body
}

#[tokio::test]
async fn a_memory_alarm_holds_publishing_and_nothing_else() {
    let broker = Broker::dedicated().await;
    let world = World::on(&broker, Postgres::shared().await, Keep::Sqlite).await;
    let hub = world.hub_with(&[("WARREN__LOG__LEVEL", "info,api_ack=debug")]).await;
    let (client, operator) = (hub.client(), hub.admin());
    let _shop = world.shop(None);
    let pressure = Pressure::new(&world, vec![client.clone()], "alarm", Duration::from_millis(150));
    pressure
        .during(async {
            pressure.more_accepted(50).await;
            broker.raise_memory_alarm().await;
            let raised = Instant::now();
            let reason = until(LONG, "/health to name the alarm", async || {
                let health = health(&operator).await;
                health["dependencies"]["publish"]["reason"].as_str().map(str::to_owned)
            })
            .await;
            assert!(reason.contains("blocked by the broker") && reason.contains("memory"), "{reason}");
            // Anybody may see that it is not well; why is for operators.
            let shown = health(&client).await;
            assert_eq!((&shown["ok"], &shown["dependencies"]["publish"]), (&json!(false), &json!({"ok": false})), "{shown}");
            let ready = client.get("/ready").await.unwrap();
            assert_eq!(ready.status, 200, "it can still accept");
            assert!(String::from_utf8_lossy(&ready.bytes).starts_with("degraded\n"), "{ready:?}");
            // What is on the wire for longer than a publish may take is given up, and goes again under the same id.
            let given_up = async || hub.log().contains("publishing again under the same id");
            until_true(LONG, "what is on the wire to be given up", given_up).await;
            assert_quick_and_accepted(&pressure, raised, Instant::now());
            broker.clear_memory_alarm().await;
            pressure.more_accepted(50).await;
        })
        .await;
    world.assert_clean(&client).await;
    until_true(LONG, "/health to be good again", async || health(&client).await["ok"] == true).await;
}
