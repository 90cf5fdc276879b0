//! `kill -9` of the hub and of a service at every crash point, under load, in the middle of batches, with clients that retry.
//!
//! | point | where |
//! |---|---|
//! | K1, K2, K3 | before the commit, after it, after the answers |
//! | K4, K5, K6 | claimed to be published, frame written, confirmed and not yet marked |
//! | K7, K9, K10 | delivered, end recorded and not acked, acked |
//! | K8 | half-way through a handler's transaction |
//! | K11, K12 | a retry or a dead letter was published, its original not acked |

use std::cell::Cell;
use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use warren_tests::hub::{ALL_SCOPES, HubClient, HubProcess, token};
use warren_tests::wait::until;

use crate::world::{Keep, LONG, World};

/// How often each point is hit; the soak sets it higher.
pub fn kills() -> usize {
    std::env::var("WARREN_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

/// Where in the run the process dies. Some points are passed once a batch, some once a message.
fn plan(point: &str, round: usize) -> String {
    let nth = match point {
        "K1" | "K2" | "K3" | "K4" | "K9" | "K10" => [2, 4, 1, 3, 5, 2][round % 6],
        _ => [3, 17, 41, 8, 29, 2][round % 6],
    };
    format!("{point}:{nth}")
}

/// Starts a hub that will die at `point`, and once it has died one that will not.
async fn die_once(hub: &mut HubProcess) {
    hub.crashed(LONG).await;
    hub.start_again_with(&[]).await;
}

/// Ends a hub without a word and starts one that will die at `point`.
async fn doom(hub: &mut HubProcess, point: &str, round: usize) {
    hub.kill9();
    hub.start_again_with(&[("WARREN_CRASH_POINT".to_owned(), plan(point, round))]).await;
}

async fn hub_dies_at(point: &str, keep: Keep) {
    let world = World::new(keep).await;
    let mut shop = world.shop(None);
    let mut hub = world.hub().await;
    let client = hub.client();
    for round in 0..kills() {
        doom(&mut hub, point, round).await;
        // A busy machine makes few and large batches: there is load until the point was reached often enough.
        let died = Cell::new(false);
        let load = async {
            let mut more = 0;
            while more == 0 || !died.get() {
                world.load(&client, &format!("{point}-{round}-{more}"), 60, 16).await;
                more += 1;
            }
        };
        let dying = async {
            die_once(&mut hub).await;
            died.set(true);
        };
        tokio::join!(load, dying);
    }
    world.assert_clean(&client).await;
    assert!(shop.poll().is_none(), "the shop never dies here: {}", shop.tail());
}

macro_rules! hub_dies {
    ($($name:ident $point:literal $keep:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            hub_dies_at($point, Keep::$keep).await;
        }
    )*};
}

hub_dies! {
    k1_before_the_commit "K1" Sqlite;
    k2_committed_and_not_answered "K2" Postgres;
    k3_answered "K3" Sqlite;
    k4_claimed_to_be_published "K4" Postgres;
    k5_written_and_not_confirmed "K5" Sqlite;
    k6_confirmed_and_not_marked "K6" Postgres;
}

/// The service that does the work dies; the hub lives.
async fn shop_dies_at(point: &str) {
    let world = World::new(Keep::Postgres).await;
    let hub = world.hub().await;
    let client = hub.client();
    for round in 0..kills() {
        let mut doomed = world.shop(Some(&plan(point, round)));
        world.load(&client, &format!("{point}-{round}"), 60, 16).await;
        doomed.wait(LONG).await;
        assert!(doomed.was_killed(), "{point}: {}", doomed.tail());
    }
    let _shop = world.shop(None);
    world.assert_clean(&client).await;
}

#[tokio::test]
async fn k7_delivered() {
    shop_dies_at("K7").await;
}

#[tokio::test]
async fn k8_half_done() {
    shop_dies_at("K8").await;
}

#[tokio::test]
async fn k9_recorded_and_not_acked() {
    shop_dies_at("K9").await;
}

#[tokio::test]
async fn k10_acked() {
    shop_dies_at("K10").await;
}

/// The hub's own worker dies: the attempts of a job that fails twice are counted right all the same.
async fn worker_dies_at(point: &str) {
    let world = World::new(Keep::Postgres).await;
    let mut hub = world.hub().await;
    let client = hub.client();
    let mut jobs = Vec::new();
    for round in 0..kills() {
        doom(&mut hub, point, round).await;
        let load = async {
            let mut accepted = Vec::new();
            for number in 0..30 {
                let key = format!("{point}-{round}-{number}");
                let id = until(LONG, "a job to be accepted", async || {
                    let answer = client.submit("demo.flaky", &json!({"n": number}), Some(&key)).await.ok()?;
                    answer.job_id().map(str::to_owned)
                })
                .await;
                accepted.push(id);
            }
            accepted
        };
        let (accepted, ()) = tokio::join!(load, die_once(&mut hub));
        jobs.extend(accepted);
    }
    assert_eq!(jobs.iter().collect::<BTreeSet<_>>().len(), 30 * kills(), "one job per key");
    for id in &jobs {
        let job = client.wait_state(id, "succeeded", LONG).await;
        assert_eq!((&job["attempt"], &job["result"]), (&json!(3), &json!({"attempts": 3})), "{job}");
        let failed = job["attempts"].as_array().unwrap().iter().filter(|a| a["outcome"] == "failed").count();
        assert_eq!(failed, 2, "{job}");
    }
}

#[tokio::test]
async fn k7_in_the_hubs_worker() {
    worker_dies_at("K7").await;
}

#[tokio::test]
async fn k9_in_the_hubs_worker() {
    worker_dies_at("K9").await;
}

#[tokio::test]
async fn k10_in_the_hubs_worker() {
    worker_dies_at("K10").await;
}

/// Dead letters on their way: what nobody can decode is in the store once, bytes intact, whatever dies.
#[tokio::test]
async fn k12_dead_letter_published_and_original_not_acked() {
    let world = World::new(Keep::Sqlite).await;
    let mut hub = world.hub_with(&[("WARREN_CRASH_POINT", "K12:2")]).await;
    let bodies: Vec<Vec<u8>> = (0..10_u8).map(|n| vec![0xff, 0x00, n, b'"']).collect();
    for (number, body) in bodies.iter().enumerate() {
        let properties = json!({"message_id": format!("foreign-{number}"), "delivery_mode": 2});
        assert!(world.vhost.publish("warren.jobs", "demo.echo", properties, body).await);
    }
    die_once(&mut hub).await;
    // A foreign message belongs to no tenant.
    let admin = HubClient::new(hub.admin_url(), Some(token("*", "operator", ALL_SCOPES)));
    let letters = until(LONG, "every foreign message to be a dead letter", async || {
        let page = admin.get("/admin/dead-letters?queue=jobs.demo.echo&limit=100").await.ok()?.body;
        let letters = page["items"].as_array()?.clone();
        (letters.len() >= bodies.len()).then_some(letters)
    })
    .await;
    assert_eq!(letters.len(), bodies.len(), "each once");
    for letter in &letters {
        assert_eq!(letter["reason"], "undecodable");
        let number: usize = letter["message_id"].as_str().unwrap().trim_start_matches("foreign-").parse().unwrap();
        let path = format!("/admin/dead-letters/{}/body", letter["id"].as_str().unwrap());
        let bytes = admin.request(Method::GET, &path).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(&bytes[..], &bodies[number][..]);
    }
}
