//! Drift: as an exit code, and as a gauge of a hub that runs.

use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::ports::free_port;
use warren_tests::wait::until_true;

use super::Desk;
use crate::world::{Keep, LONG, World, settled};

#[tokio::test]
async fn drift_is_an_exit_code() {
    let desk = Desk::set(&["orders.place"]).await;
    desk.run("apply").await.ended(0);
    let said = desk.run("check").await.ended(0);
    assert!(said.out.is_empty() && said.err.contains("the broker is as the topology says"), "{}{}", said.out, said.err);
    desk.vhost.unbind("warren.jobs", "jobs.orders.place", "orders.place").await;
    let said = desk.run("check").await.ended(2);
    assert_eq!(said.out, "missing  binding   warren.jobs -> queue jobs.orders.place  key orders.place\n");
    assert!(said.err.contains("(1 missing)"), "{}", said.err);
    assert_eq!(desk.run("check --json").await.ended(2).json()["drift"]["missing"], 1);
    // 2 is a difference here, so that a configuration that cannot be used is 1.
    desk.write(&["orders.place"], "nonsense = 1\n");
    desk.run("check").await.ended(1);
    desk.run("plan").await.ended(1);
}

fn options(desk: &Desk, management: &str) -> HubOptions {
    let env = [("WARREN__BROKER__MANAGEMENT_URL", management), ("WARREN__TOPOLOGY__CHECK_EVERY", "1s")];
    HubOptions {
        broker_url: desk.vhost.url(),
        extra_toml: "[[kind]]\nname = \"orders.place\"\nworker = \"amqp\"\n".to_owned(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..HubOptions::default()
    }
}

async fn metrics(hub: &HubProcess) -> String {
    reqwest::get(format!("{}/metrics", hub.internal_url())).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_hub_shows_drift_as_a_gauge() {
    let desk = Desk::set(&["orders.place"]).await;
    let hub = HubProcess::start(&options(&desk, &desk.env[0].1)).await;
    settled(&hub).await;
    let shows = async |line: &str| {
        until_true(LONG, line, async || metrics(&hub).await.lines().any(|found| found == line)).await;
    };
    shows("warren_topology_drift{kind=\"missing\"} 0").await;
    shows("warren_topology_drift{kind=\"extra\"} 0").await;
    desk.vhost.unbind("warren.jobs", "jobs.orders.place", "orders.place").await;
    shows("warren_topology_drift{kind=\"missing\"} 1").await;
    // At the look after: what is gone by then was about to be declared.
    until_true(LONG, "the log to say so", async || hub.log().contains("the broker differs from the topology")).await;
    desk.run("apply").await.ended(0);
    shows("warren_topology_drift{kind=\"missing\"} 0").await;
}

/// Devices come and go, and are no drift; what they stand on is, and that it is just being set is not told.
#[tokio::test]
async fn queues_of_devices_are_no_drift() {
    let desk = Desk::set(&["orders.place"]).await;
    let plain = options(&desk, &desk.env[0].1);
    let extra_toml = format!("[devices]\nenabled = true\n{}", plain.extra_toml);
    let hub = HubProcess::start(&HubOptions { extra_toml, ..plain }).await;
    settled(&hub).await;
    let shows = async |line: &str| {
        until_true(LONG, line, async || metrics(&hub).await.lines().any(|found| found == line)).await;
    };
    let all = async |missing: u32| {
        for (kind, count) in [("missing", missing), ("changed", 0), ("extra", 0), ("policy", 0)] {
            shows(&format!("warren_topology_drift{{kind=\"{kind}\"}} {count}")).await;
        }
    };
    all(0).await;
    assert!(!hub.log().contains("the broker differs"), "{}", hub.log());
    let names = broker_topology::Names::default();
    let device = broker_topology::Device { number: 7, tier: broker_topology::Tier::Lite };
    let queue = names.device_queue(device);
    desk.vhost.declare_queue(&queue, json!({"x-queue-type": "classic", "x-single-active-consumer": true})).await;
    desk.vhost.bind(&names.devices(), &queue, "device.7").await;
    desk.vhost.unbind(&names.devices_dead(), &names.devices_dropped(), "").await;
    all(1).await;
}

#[tokio::test]
async fn without_the_management_api_there_is_no_gauge_and_the_log_says_so_once() {
    let desk = Desk::set(&["orders.place"]).await;
    let hub = HubProcess::start(&options(&desk, &format!("http://127.0.0.1:{}", free_port()))).await;
    settled(&hub).await;
    let said = || hub.log().matches("drift of the topology cannot be seen").count();
    until_true(LONG, "the log to say so", async || said() == 1).await;
    assert!(!metrics(&hub).await.contains("warren_topology_drift{"));
    // It looks once a second. That a later look says nothing cannot be awaited: time for three of them passes.
    let began = std::time::Instant::now();
    until_true(LONG, "some more looks", async || began.elapsed() > std::time::Duration::from_secs(4)).await;
    assert_eq!(said(), 1);
}

#[tokio::test]
async fn of_two_hubs_one_looks_for_drift() {
    let world = World::new(Keep::Postgres).await;
    let management = Broker::shared().await.management().url().to_owned();
    let mut options = world.options();
    let env = [("WARREN__BROKER__MANAGEMENT_URL", &*management), ("WARREN__TOPOLOGY__CHECK_EVERY", "1s")];
    options.env.extend(env.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let hubs = [HubProcess::start(&options).await, HubProcess::start(&options).await];
    let looking = async || {
        let mut looking = 0;
        for hub in &hubs {
            looking += usize::from(metrics(hub).await.contains("warren_topology_drift{"));
        }
        looking
    };
    for hub in &hubs {
        settled(hub).await;
    }
    // Each looks once a second, unless it does not. Both may think for a moment that they lead.
    let began = std::cell::Cell::new(std::time::Instant::now());
    until_true(LONG, "one of them to look for some seconds", async || {
        if looking().await != 1 {
            began.set(std::time::Instant::now());
        }
        began.get().elapsed() > std::time::Duration::from_secs(5)
    })
    .await;
}
