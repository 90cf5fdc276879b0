//! Nothing is lost over the real hub: what was accepted against what devices have handled, for each transport, whatever dies.
//!
//! A device counts a message as handled the first time it has it. So *lost* is what was accepted and never handled nor told as dropped, a *copy* is one that was
//! handled before, by its id, and *leaked* is one of another device.

mod clients;
mod diary;
mod full;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};
use warren_tests::broker::{Broker, Vhost};
use warren_tests::postgres::Postgres;
use warren_tests::wait::{until_true, within};

use self::clients::{Nature, Pace, roam};
use self::diary::{Diary, Dice};
use super::fleet::{Owner, address, hub_on, register};
use crate::world::{Keep, LONG, World};

/// Everything that is told of deliveries, in a queue of the test's own.
const RECEIPTS: &str = "receipts";

async fn hear_receipts(vhost: &Vhost) {
    vhost.declare_queue(RECEIPTS, json!({})).await;
    vhost.bind("warren.events", RECEIPTS, "delivery.*").await;
}

/// Ids of messages, by what is told that became of them.
async fn told(vhost: &Vhost, kind: &str) -> BTreeSet<String> {
    let all = vhost.get_messages(RECEIPTS, 100_000).await;
    let of_kind = all.iter().filter(|told| told.routing_key == kind);
    of_kind.map(|told| told.message_id().unwrap().split('/').next().unwrap().to_owned()).collect()
}

/// How devices come; `any`: another way each time.
const TRANSPORTS: [&str; 4] = ["socket", "stream", "poll", "any"];

/// Both hubs and the broker are killed by turns, while devices of each transport come and go.
#[tokio::test]
async fn nothing_is_lost_by_any_transport_whoever_is_killed() {
    let broker = Broker::dedicated().await;
    let world = World::on(&broker, Postgres::shared().await, Keep::Postgres).await;
    let (mut one, mut two) = tokio::join!(hub_on(&broker, &world, ""), hub_on(&broker, &world, ""));
    hear_receipts(&world.vhost).await;
    let hubs = [&one, &two].map(address);
    let owner = Owner::of("acme", &[one.public_url(), two.public_url()]);
    let natures = [Nature::default(), Nature { slow: true, ..Nature::default() }, Nature { twice: true, ..Nature::default() }];
    let mut diaries = Vec::new();
    for transport in TRANSPORTS {
        for (n, nature) in natures.iter().enumerate() {
            let registered = register(if n % 2 == 0 { &one } else { &two }, "acme", &format!("{transport}-{n}")).await;
            diaries.push(Diary::new(registered, transport, *nature));
        }
    }

    let enough = AtomicBool::new(false);
    let sending = diaries.iter().map(async |diary| {
        let mut pace = interval(Duration::from_millis(400));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ids = Vec::new();
        while !enough.load(Ordering::Relaxed) {
            pace.tick().await;
            ids.push(owner.send(diary.id(), ids.len()).await);
        }
        diary.expects(ids);
    });
    let roaming = diaries.iter().enumerate().flat_map(|(n, diary)| {
        let programs = if diary.nature.twice { 2 } else { 1 };
        (0..programs)
            .map(|program| roam(Pace { hubs: &hubs, dice: Dice::new(n as u64 * 77 + program) }, diary))
            .collect::<Vec<_>>()
    });
    let handled = || diaries.iter().map(Diary::count).collect::<Vec<usize>>();
    // Everybody goes on, before the next one dies and after the last.
    let progress = async |when: &str| {
        let before = handled();
        let all_go_on = async || handled().iter().zip(&before).all(|(now, before)| now >= &(before + 3)).then_some(());
        if within(LONG, all_go_on).await.is_none() {
            let standing: Vec<String> = diaries.iter().map(ToString::to_string).collect();
            panic!("{when}: not every device gets more than {before:?}: {standing:?}");
        }
    };
    let killing = async {
        for turn in 0..2 {
            progress("before a hub is killed").await;
            let hub = if turn == 0 { &mut one } else { &mut two };
            hub.kill9();
            progress("with one hub").await;
            hub.start_again().await;
        }
        progress("before the broker is killed").await;
        broker.sync_declarations().await;
        broker.kill9();
        progress("without a broker").await;
        broker.start_again().await;
        progress("with another broker").await;
        one.kill9();
        one.start_again().await;
        progress("at the end").await;
        enough.store(true, Ordering::Relaxed);
    };
    let work = async { tokio::join!(join_all(sending), join_all(roaming), killing) };
    if timeout(5 * LONG, work).await.is_err() {
        diaries.iter().for_each(|diary| eprintln!("{diary}"));
        panic!("not all of it was got");
    }

    for transport in TRANSPORTS {
        let (mut accepted, mut lost, mut copies) = (0, 0, 0);
        for diary in diaries.iter().filter(|diary| diary.transport == transport) {
            let verdict = diary.judge();
            (accepted, lost, copies) = (accepted + verdict.accepted, lost + verdict.lost, copies + verdict.copies);
            let path = format!("/v1/devices/{}", diary.id());
            until_true(LONG, "the store to have every ack", async || owner.get(&path).await["backlog"] == 0).await;
        }
        eprintln!("{transport}: accepted {accepted}, lost {lost}, copies {copies}");
        assert!(accepted > 0 && lost == 0);
    }
    let accepted: BTreeSet<String> = diaries.iter().flat_map(|diary| diary.expected()).collect();
    let heard = Mutex::new(BTreeSet::new());
    until_true(LONG, "every receipt", async || {
        let more = told(&world.vhost, "delivery.delivered").await;
        let mut heard = heard.lock().unwrap();
        heard.extend(more);
        heard.len() >= accepted.len()
    })
    .await;
    assert_eq!(heard.into_inner().unwrap(), accepted, "of each message a receipt, and of nothing else");
}
