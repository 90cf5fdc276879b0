//! Devices over two brokers, as an operator has them: spread, moved when a shard is added and when one is emptied, while processes disagree, and while one
//! broker is down.

mod scene;

use std::time::Duration;

use mobile_delivery::store::MAIN;
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;
use warren_tests::broker::Broker;
use warren_tests::hub::{HubClient, HubProcess};
use warren_tests::process::binary;
use warren_tests::wait::until_true;

use self::scene::{NORTH, Phone, Scene, addresses, either, number, phones, queue, shares, slowest, while_sending};
use super::fleet::OWNER;
use crate::world::{Keep, LONG, settled};

fn owner(hub: &HubProcess) -> HubClient {
    hub.client_as("acme", "app", OWNER)
}

fn ids(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("phone-{n}"))
}

/// What a gauge or a counter of a hub shows, by its name with its labels.
async fn shows(hub: &HubProcess, line: &str) -> Option<f64> {
    let text = HubClient::new(hub.internal_url(), None).get("/metrics").await.ok()?;
    let text = String::from_utf8(text.bytes).ok()?;
    text.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok())
}

#[tokio::test]
async fn devices_are_spread_over_two_brokers_and_those_that_the_broker_serves_are_at_the_main_one() {
    let scene = Scene::set(Keep::Sqlite).await;
    let hub = scene.hub(&scene.with_north(false), "broker_auth = true\ntrusted_network = true").await;
    let mut all = phones(&hub, ids(16)).await;
    assert!(shares(&all).len() == 2, "{:?}", shares(&all));
    all.iter_mut().for_each(|phone| phone.connect(&addresses(&[&hub])));
    scene.until_at(&all, either).await;
    for phone in &mut all {
        phone.send(&owner(&hub), 5).await;
    }
    for phone in &all {
        phone.has_all().await;
    }
    for shard in [MAIN, NORTH] {
        let wanted = all.iter().filter(|phone| either(phone.number) == shard).count();
        let attached = shows(&hub, &format!("warren_devices_attached{{shard=\"{shard}\"}}")).await;
        assert_eq!(attached, Some(wanted as f64), "{shard}");
    }
    // What only a lane brings, and not the look at rows of every second.
    let latest: Vec<Duration> = all.iter().flat_map(|phone| phone.took(3)).collect();
    assert!(slowest(&latest).1 < 500, "{:?}", slowest(&latest));

    // Nothing but what devices need is there, and their queues have limits.
    let there = scene.there.definitions().await;
    let names = |value: &serde_json::Value, of: &str| {
        let all = value[of].as_array().unwrap().iter();
        let mut names: Vec<String> = all.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&there, "exchanges"), ["warren.broadcast", "warren.devices", "warren.devices.dead", "warren.groups"]);
    assert_eq!(names(&there, "policies"), ["warren.devices.lite", "warren.devices.standard"]);

    until_true(LONG, "what goes over limits there to be taken", async || {
        scene.there.consumers("warren.devices.dropped").await == Some(1)
    })
    .await;
    operators_see_it(&scene, &hub, &all).await;

    // Whoever takes from a queue itself finds it at the broker that it is told of.
    let of_broker = async |n: usize| {
        let id = format!("gateway-{n}");
        let put = owner(&hub).request(Method::PUT, &format!("/v1/devices/{id}")).json(&json!({"user": "olga", "via": "amqp"}));
        let registered = owner(&hub).send(put).await.unwrap();
        assert_eq!(registered.status, 201, "{}", registered.body);
        let post = owner(&hub).request(Method::POST, &format!("/v1/devices/{id}/messages")).json(&json!({"number": 0}));
        assert_eq!(owner(&hub).send(post).await.unwrap().status, 202);
        number(&hub, &id).await
    };
    let mut belongs_north = 0;
    for n in 0..8 {
        let gateway = of_broker(n).await;
        belongs_north += usize::from(either(gateway) == NORTH);
        until_true(LONG, "its message to be in its queue", async || {
            scene.world.vhost.queue_depth(&queue(gateway)).await == Some(1)
        })
        .await;
        assert_eq!(scene.queues(gateway).await, [MAIN]);
    }
    assert!(belongs_north > 0, "none of them would be elsewhere if it were the hub's");
}

/// Commands look at the shard as they look at the main broker.
async fn operators_see_it(scene: &Scene, hub: &HubProcess, all: &[Phone]) {
    let checked = warren(hub, &["topology", "check", "--config", "warren.toml", "--shard", NORTH]).await;
    assert_eq!(checked.0, Some(0), "{}", checked.1);
    scene.there.delete_exchange("warren.groups").await;
    let checked = warren(hub, &["topology", "check", "--config", "warren.toml", "--shard", NORTH]).await;
    assert!(checked.0 == Some(2) && checked.1.contains("warren.groups"), "{}", checked.1);
    let applied = warren(hub, &["topology", "apply", "--config", "warren.toml", "--shard", NORTH]).await;
    assert_eq!(applied.0, Some(0), "{}", applied.1);
    let unknown = warren(hub, &["topology", "export", "--config", "warren.toml", "--shard", "south"]).await;
    assert!(
        unknown.0 == Some(2) && unknown.1.contains("no [[broker.shard]] called `south`; configured: `north`"),
        "{}",
        unknown.1
    );
    let examined = warren(hub, &["doctor", "--config", "warren.toml", "--json"]).await;
    assert!(examined.1.contains("shard `north`: "), "{}", examined.1);
    let phone = all.iter().find(|phone| either(phone.number) == NORTH).expect("one of them is there");
    let shown = hub.admin().get(&format!("/admin/devices/acme/{}", phone.device.id)).await.unwrap().body;
    assert_eq!(shown["shard"], NORTH, "{shown}");
}

/// A command in the folder of a hub: its code, and all that it said.
async fn warren(hub: &HubProcess, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(binary("warren"));
    command.args(arguments).env_clear().current_dir(hub.folder());
    command.env("WARREN__BROKER__MANAGEMENT_URL", Broker::shared().await.management().url());
    let output = command.output().await.unwrap();
    let all = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(all).unwrap())
}

/// A broker is added, and devices move with what waits for them; it is emptied, and nothing of theirs stays there.
#[tokio::test]
async fn devices_move_with_their_pending_rows_when_a_shard_is_added_and_when_it_is_emptied() {
    let scene = Scene::set(Keep::Sqlite).await;
    let mut hub = scene.hub("", "").await;
    let mut all = phones(&hub, ids(16)).await;
    let to = addresses(&[&hub]);
    all.iter_mut().for_each(|phone| phone.connect(&to));
    scene.until_at(&all, |_| MAIN).await;
    // Those that are away while it happens have a queue with messages in it, and more that come later.
    let (here, away) = all.split_at_mut(8);
    assert!(shares(here).len() == 2 && shares(away).len() == 2);
    for phone in away.iter_mut() {
        until_true(LONG, "it to be there", async || scene.world.vhost.consumers(&queue(phone.number)).await == Some(1)).await;
        phone.leave();
        until_true(LONG, "it to be gone", async || scene.world.vhost.consumers(&queue(phone.number)).await == Some(0)).await;
        phone.send(&owner(&hub), 3).await;
        until_true(LONG, "its queue to be filled", async || scene.world.vhost.queue_depth(&queue(phone.number)).await == Some(3))
            .await;
    }

    scene.restart(&mut hub, &scene.with_north(false)).await;
    for phone in here.iter_mut() {
        phone.send(&owner(&hub), 3).await;
    }
    scene.until_at(here, either).await;
    // Nobody was there to take these along: they are where they were, and are filled there.
    for phone in away.iter_mut() {
        phone.send(&owner(&hub), 2).await;
        assert_eq!(scene.queues(phone.number).await, [MAIN]);
        until_true(LONG, "its queue to be filled", async || scene.world.vhost.queue_depth(&queue(phone.number)).await == Some(5))
            .await;
        phone.connect(&to);
    }
    scene.until_at(away, either).await;
    for phone in &mut all {
        phone.has_all().await;
        phone.send(&owner(&hub), 2).await;
        phone.has_all().await;
    }

    // Emptied: those that are there leave at once, and those that are away lose their queue.
    let (here, away) = all.split_at_mut(8);
    for phone in away.iter_mut() {
        phone.leave();
        phone.send(&owner(&hub), 3).await;
    }
    scene.restart(&mut hub, &scene.with_north(true)).await;
    for phone in here.iter_mut() {
        phone.send(&owner(&hub), 3).await;
    }
    let left = format!("warren_shard_left{{shard=\"{NORTH}\"}}");
    until_true(LONG, "nothing to be left at the shard", async || shows(&hub, &left).await == Some(0.0)).await;
    assert!(hub.log().contains("it can be taken out of the configuration"), "{}", hub.log());
    for phone in here.iter() {
        assert_eq!(scene.queues(phone.number).await, [MAIN]);
    }
    for phone in away.iter() {
        let cold: &[&str] = if either(phone.number) == NORTH { &[] } else { &[MAIN] };
        assert_eq!(scene.queues(phone.number).await, cold, "what was idle there is cold");
    }

    scene.restart(&mut hub, "").await;
    for phone in away.iter_mut() {
        phone.connect(&to);
    }
    for phone in &mut all {
        phone.send(&owner(&hub), 1).await;
        phone.has_all().await;
    }
    scene.until_at(&all, |_| MAIN).await;
}

/// Two processes with different brokers, one after the other, while messages come by both.
#[tokio::test]
async fn nothing_is_lost_or_overtakes_while_processes_have_different_shards() {
    let scene = Scene::set(Keep::Postgres).await;
    let (mut one, mut two) = tokio::join!(scene.hub("", ""), scene.hub("", ""));
    let mut all = phones(&one, ids(12)).await;
    assert!(shares(&all).len() == 2);
    for (n, phone) in all.iter_mut().enumerate() {
        let mut to = addresses(&[&one, &two]);
        to.rotate_left(n % 2);
        phone.connect(&to);
    }
    scene.until_at(&all, |_| MAIN).await;
    let every = Duration::from_millis(150);
    let lasts = Duration::from_secs(4);
    let with = scene.with_north(false);

    // One after the other gets it: nobody uses it before all have it, and then those move that belong there.
    while_sending(&mut all, &[&two], every, async {
        scene.restart(&mut one, &with).await;
        sleep(lasts).await;
    })
    .await;
    for phone in &all {
        phone.has_all().await;
        assert_eq!(scene.queues(phone.number).await, [MAIN], "not all processes have the other");
    }
    while_sending(&mut all, &[&one], every, async {
        scene.restart(&mut two, &with).await;
        sleep(lasts).await;
    })
    .await;
    scene.until_at(&all, either).await;

    // One after the other loses it, at once: who has a lane there goes on by rows, and leaves.
    let before: Vec<usize> = all.iter().map(|phone| phone.count()).collect();
    while_sending(&mut all, &[&two], every, async {
        scene.restart(&mut one, "").await;
        sleep(lasts).await;
    })
    .await;
    for phone in &all {
        phone.has_all().await;
    }
    let took: Vec<Duration> = all.iter().zip(before).flat_map(|(phone, from)| phone.took(from)).collect();
    eprintln!("while one of two processes does not have the shard: {:?} ms, the slowest and nine in ten", slowest(&took));
    while_sending(&mut all, &[&one], every, async {
        scene.restart(&mut two, "").await;
        sleep(lasts).await;
    })
    .await;
    for phone in &mut all {
        phone.send(&owner(&one), 2).await;
        phone.has_all().await;
        until_true(LONG, "its queue to be at the main broker", async || scene.queues(phone.number).await.contains(&MAIN)).await;
    }

    // What is still there goes once somebody can reach it again.
    let left = format!("warren_shard_left{{shard=\"{NORTH}\"}}");
    scene.restart(&mut one, &scene.with_north(true)).await;
    until_true(LONG, "nothing to be left at the shard", async || shows(&one, &left).await == Some(0.0)).await;
    scene.until_at(&all, |_| MAIN).await;
}

/// One of two brokers is killed: devices of the other do not notice, those of the dead one get their messages all the same.
#[tokio::test]
async fn while_one_broker_is_down_devices_of_the_other_go_on_and_its_own_go_by_rows() {
    let scene = Scene::set(Keep::Postgres).await;
    let mut hub = scene.hub(&scene.with_north(false), "").await;
    let mut all = phones(&hub, ids(16)).await;
    let to = addresses(&[&hub]);
    all.iter_mut().for_each(|phone| phone.connect(&to));
    scene.until_at(&all, either).await;
    let every = Duration::from_millis(100);
    while_sending(&mut all, &[&hub], every, sleep(Duration::from_secs(3))).await;
    let split = |all: &[Phone], from: &[usize]| {
        let took = |shard: &str| {
            let of = all.iter().zip(from).filter(|(phone, _)| either(phone.number) == shard);
            slowest(&of.flat_map(|(phone, from)| phone.took(*from)).collect::<Vec<Duration>>())
        };
        (took(MAIN), took(NORTH))
    };
    for phone in &all {
        phone.has_all().await;
    }
    eprintln!("both are there: {:?} ms, the slowest and nine in ten, at the main one and the other", split(&all, &[0; 16]));

    scene.north.sync_declarations().await;
    scene.north.kill9();
    let before: Vec<usize> = all.iter().map(|phone| phone.count()).collect();
    while_sending(&mut all, &[&hub], every, sleep(Duration::from_secs(12))).await;
    for phone in &all {
        phone.has_all().await;
    }
    let (main, north) = split(&all, &before);
    eprintln!("one is down: {main:?} ms at the main one, {north:?} ms at the dead one");
    assert!(main.1 < 500, "those of the other go on at speed: {main:?}");
    assert!(north.0 < 5000, "a message waits for a look at its row at most: {north:?}");
    let health = HubClient::new(hub.internal_url(), None).get("/health").await.unwrap().body;
    assert_eq!((&health["ok"], &health["dependencies"]["shard:north"]["ok"]), (&json!(false), &json!(false)), "{health}");
    let ready = HubClient::new(hub.internal_url(), None).get("/ready").await.unwrap();
    assert_eq!(ready.status, 200, "{}", ready.body);

    // A hub that starts meanwhile serves all of them, too.
    hub.kill9();
    hub.start_again().await;
    let before: Vec<usize> = all.iter().map(|phone| phone.count()).collect();
    while_sending(&mut all, &[&hub], every, sleep(Duration::from_secs(6))).await;
    for (phone, before) in all.iter().zip(before) {
        phone.has_all().await;
        assert!(phone.count() > before);
    }

    scene.north.start_again().await;
    settled(&hub).await;
    for phone in &all {
        let consumes = async || match either(phone.number) {
            NORTH => scene.there.consumers(&queue(phone.number)).await == Some(1),
            _ => scene.world.vhost.consumers(&queue(phone.number)).await == Some(1),
        };
        until_true(LONG, "it to take from its queue again", consumes).await;
    }
    let before: Vec<usize> = all.iter().map(|phone| phone.count()).collect();
    while_sending(&mut all, &[&hub], every, sleep(Duration::from_secs(4))).await;
    for phone in &all {
        phone.has_all().await;
    }
    let (main, north) = split(&all, &before);
    eprintln!("both are there again: {main:?} ms, {north:?} ms");
    assert!(north.1 < 500, "by their queues again: {north:?}");
    scene.until_at(&all, either).await;
}
