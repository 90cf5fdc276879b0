//! Dead letters for people, against a real broker: groups, selections, edits, the record, and the commands.

mod commands;
mod edit;
mod refusals;

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{ALL_SCOPES, Answer, HubClient, HubOptions, HubProcess, token};
use warren_tests::wait::{until, until_true};

use crate::world::{Keep, LONG, World, run_tokens, settled, token_of};

const KIND: &str = "test.letters";
const QUEUE: &str = "jobs.test.letters";

/// Nobody consumes the kind: the test is its worker.
const TOML: &str = "[[kind]]\nname = \"test.letters\"\nworker = \"amqp\"\n";

/// A hub whose jobs die as the test wants it.
struct Scene {
    world: World,
    hub: HubProcess,
}

impl Scene {
    async fn set(keep: Keep) -> Self {
        let world = World::new(keep).await;
        let options = HubOptions { extra_toml: TOML.to_owned(), ..world.options() };
        let hub = HubProcess::start(&options).await;
        settled(&hub).await;
        Self { world, hub }
    }

    fn admin(&self) -> HubClient {
        HubClient::new(self.hub.admin_url(), Some(token("*", "operator", ALL_SCOPES)))
    }

    /// Accepts jobs and lets each die of `error` with its number; the queue is empty then. Gives the jobs.
    async fn die(&self, count: usize, error: impl Fn(usize) -> (String, String)) -> Vec<String> {
        let client = self.hub.client();
        let mut jobs = Vec::new();
        for n in 0..count {
            let request = client.request(Method::POST, &format!("/v1/kinds/{KIND}/jobs")).json(&json!({"n": n}));
            let answer = client.send(request.header("warren-tags", "lot-9")).await.unwrap();
            jobs.push(answer.job_id().unwrap().to_owned());
        }
        let depth = u32::try_from(count).unwrap();
        until_true(LONG, "all jobs to be queued", async || self.world.vhost.queue_depth(QUEUE).await == Some(depth)).await;
        self.world.vhost.purge(QUEUE).await;
        let deaths: Vec<_> = jobs.iter().enumerate().map(|(n, id)| (id.clone(), error(n))).collect();
        stream::iter(deaths)
            .for_each_concurrent(8, |(id, (code, message))| async move {
                self.report(&id, 1, "rejected", Some(json!({"code": code, "message": message}))).await;
            })
            .await;
        jobs
    }

    /// Reports the end of a run, as a worker would.
    async fn report(&self, job: &str, epoch: i32, outcome: &str, failure: Option<Value>) {
        let token = token_of(&run_tokens(&self.hub, &self.world.store_url).await, job, epoch, epoch);
        let body = json!({
            "job": job, "epoch": epoch, "attempt": epoch, "token": token, "outcome": outcome, "failure": failure,
            "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z", "worker": "test",
        });
        let properties = json!({"message_id": format!("{job}/{epoch}"), "type": "warren.result", "delivery_mode": 2});
        assert!(self.world.vhost.publish("warren.results", "warren.results", properties, body.to_string().as_bytes()).await);
    }

    /// The only group there is, once it has so many open letters.
    async fn group(&self, count: u64) -> Value {
        let admin = self.admin();
        until(LONG, &format!("a group of {count}"), async || {
            let groups = admin.get("/admin/dead-letters/groups").await.ok()?.body["items"].as_array()?.clone();
            assert!(groups.len() <= 1, "one cause, one group: {groups:?}");
            groups.into_iter().find(|group| group["count"] == count)
        })
        .await
    }

    /// The letters that are open, oldest first.
    async fn open(&self, count: usize) -> Vec<Value> {
        let admin = self.admin();
        let mut letters = until(LONG, &format!("{count} open letters"), async || {
            let page = admin.get("/admin/dead-letters?state=open&limit=500").await.ok()?.body;
            page["items"].as_array().filter(|items| items.len() == count).cloned()
        })
        .await;
        letters.reverse();
        letters
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let admin = self.admin();
        admin.send(admin.request(Method::POST, &format!("/admin/dead-letters/{path}")).json(body)).await.unwrap()
    }

    async fn selection(&self, id: &str) -> Option<Value> {
        Some(self.admin().get(&format!("/admin/dead-letters/selections/{id}")).await.ok()?.body)
    }

    async fn finished(&self, id: &str) -> Value {
        until(LONG, "the selection to be finished", async || {
            self.selection(id).await.filter(|selection| selection["finished_at"].is_string())
        })
        .await
    }

    /// Letters on record as moved for a selection, each as often as it is there.
    async fn record(&self, selection: &str) -> Vec<String> {
        let page = self.admin().get("/admin/audit?actor=operator&limit=1000").await.unwrap().body;
        assert!(page.get("next").is_none(), "all of it");
        let lines = page["items"].as_array().unwrap().iter().filter(|line| line["selection"] == selection);
        lines.map(|line| line["letter"].as_str().unwrap().to_owned()).collect()
    }
}

/// An error with everything in it that differs from job to job.
fn smtp(n: usize) -> (String, String) {
    let (a, b) = (n / 250, n % 250);
    ("smtp".to_owned(), format!("451 from 10.0.{a}.{b}:25 after {n} ms for order '{n}' in /var/spool/{n}/out"))
}

#[tokio::test]
async fn five_hundred_failures_are_one_group_and_what_comes_later_is_not_selected() {
    let scene = Scene::set(Keep::Sqlite).await;
    let jobs = scene.die(500, smtp).await;
    let group = scene.group(500).await;
    assert_eq!((&group["kind"], &group["reason"], &group["code"]), (&json!(KIND), &json!("rejected"), &json!("smtp")), "{group}");
    assert_eq!(group["title"], "smtp: <n> from <n> after <n> ms for order <q> in /var/spool/<n>/out");
    assert!(group["first_seen"].as_str() <= group["last_seen"].as_str() && group["at_least"] == false, "{group}");

    let fingerprint = group["fingerprint"].as_str().unwrap();
    let frozen = scene.post("selections", &json!({"fingerprint": fingerprint, "kind": KIND, "text": "/VAR/spool"})).await;
    assert_eq!((frozen.status, &frozen.body["count"]), (201, &json!(500)), "{}", frozen.body);
    assert_eq!(frozen.body["sample"].as_array().unwrap().len(), 5);
    let id = frozen.body["id"].as_str().unwrap();
    let later = scene.die(10, smtp).await;
    scene.group(510).await;

    let path = format!("selections/{id}/redrive");
    let asked = scene.post(&path, &json!({"note": "the relay is back", "rate": 1000})).await;
    assert_eq!((asked.status, &asked.body["action"]), (202, &json!("redrive")), "{}", asked.body);
    let done = scene.finished(id).await;
    assert_eq!((&done["moved"], &done["refused"], &done["waiting"]), (&json!(500), &json!(0), &json!(0)), "{done}");
    // Asked again it is the same; asked for something else it is refused.
    assert_eq!(scene.post(&path, &json!({"note": "again"})).await.body["note"], "the relay is back");
    let other = scene.post(&format!("selections/{id}/discard"), &json!({"reason": "why not"})).await;
    assert_eq!((other.status, &other.body["code"]), (409, &json!("selection-acted")));

    until_true(LONG, "500 messages", async || scene.world.vhost.queue_depth(QUEUE).await == Some(500)).await;
    let messages = scene.world.vhost.get_messages(QUEUE, 501).await;
    let ids: BTreeSet<String> = messages.iter().map(|message| message.message_id().unwrap().to_owned()).collect();
    assert_eq!((messages.len(), &ids), (500, &jobs.iter().cloned().collect()), "each once, and none of the later ones");
    assert!(messages.iter().all(|message| message.header("warren-epoch") == &json!(2)));
    let left: BTreeSet<_> = scene.open(10).await.iter().map(|letter| letter["job_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left, later.into_iter().collect());
    let record = scene.record(id).await;
    assert_eq!((record.len(), record.iter().collect::<BTreeSet<_>>().len()), (500, 500), "a line for each");
}

#[tokio::test]
async fn a_selection_goes_on_after_a_kill_and_moves_each_once() {
    let mut scene = Scene::set(Keep::Postgres).await;
    let jobs = scene.die(60, smtp).await;
    scene.group(60).await;
    let letters = scene.open(60).await;
    let frozen = scene.post("selections", &json!({"reason": "rejected"})).await;
    let id = frozen.body["id"].as_str().unwrap().to_owned();
    // Two that somebody deals with in the meantime: they are refused, and stop nobody.
    for letter in &letters[58..] {
        let gone = scene.post(&format!("{}/discard", letter["id"].as_str().unwrap()), &json!({"reason": "by hand"})).await;
        assert_eq!(gone.status, 200, "{}", gone.body);
    }
    assert_eq!(scene.post(&format!("selections/{id}/redrive"), &json!({"rate": 10})).await.status, 202);
    let moved = async || scene.selection(&id).await.is_some_and(|selection| selection["moved"].as_u64() >= Some(15));
    until_true(LONG, "some to be moved", moved).await;
    scene.hub.kill9();
    scene.hub.start_again().await;
    let halfway = scene.selection(&id).await.unwrap();
    assert!(halfway["waiting"].as_u64().unwrap() > 0, "it was in the middle: {halfway}");

    let done = scene.finished(&id).await;
    assert_eq!((&done["moved"], &done["refused"]), (&json!(58), &json!(2)), "{done}");
    let refused: BTreeSet<_> =
        done["refusals"].as_array().unwrap().iter().map(|refusal| refusal["letter"].clone().to_string()).collect();
    assert_eq!(refused, letters[58..].iter().map(|letter| letter["id"].to_string()).collect());
    assert!(done["refusals"][0]["why"].as_str().unwrap().contains("Discarded"), "{done}");
    let record = scene.record(&id).await;
    assert_eq!((record.len(), record.iter().collect::<BTreeSet<_>>().len()), (58, 58), "nothing twice");
    let client = scene.hub.client();
    let mut revived = 0;
    for job in &jobs {
        let job = client.job(job).await.unwrap().body;
        revived += usize::from(job["epoch"] == 2);
        assert!(job["epoch"].as_i64() <= Some(2), "redriven twice: {job}");
    }
    assert_eq!(revived, 58);
}
