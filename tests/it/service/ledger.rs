//! The ledger for jobs of a process without the hub's database: claims, lapses, poison, interruption.

use std::sync::Arc;

use broker_topology::Names;
use messaging::handler::{Context, Failure, Outcome};
use messaging::inbox::{Entry, Inbox};
use messaging::ledger::{Arrival, End, Ending, JobLedger, Verdict};
use messaging::message::{Message, Run};
use messaging::process::Process;
use messaging::results::{JobResult, Reported};
use messaging::service_ledger::ServiceLedger;

use super::Stage;

const QUEUE: &str = "jobs.demo";
const RUN: Run = Run { epoch: 1, attempt: 1 };

fn message(id: &str) -> Arc<Message> {
    Arc::new(Message {
        id: id.to_owned(),
        kind: "demo".to_owned(),
        source: "/warren/test".to_owned(),
        time: Default::default(),
        content_type: "application/json".to_owned(),
        traceparent: None,
        run: Some(RUN),
        tenant: String::new(),
        headers: Default::default(),
        body: Default::default(),
    })
}

fn arrival(id: &str, run: Run, alone: bool) -> Arrival {
    Arrival { message: message(id), run, queue: QUEUE.into(), alone, early: false }
}

fn ending(id: &str, lease: i64, end: End) -> Ending {
    let (started_at, ended_at) = Default::default();
    Ending { message: message(id), run: RUN, queue: QUEUE.into(), lease, end, started_at, ended_at, http_status: None }
}

fn run(lease: i64) -> Verdict {
    Verdict::Run { lease, deadline: None }
}

async fn ledger(stage: &Stage) -> (ServiceLedger, String) {
    let process = Process::enter(stage.pool.clone(), "test").await.unwrap();
    let id = process.id().to_owned();
    (ServiceLedger::new(stage.pool.clone(), stage.publisher.clone(), Names::default(), process, "test"), id)
}

/// As if the process had died over ten seconds ago.
async fn lapse(stage: &Stage, process: &str) {
    let sql = "UPDATE warren_processes SET beat_at = beat_at - interval '11 seconds' WHERE id = $1";
    assert_eq!(sqlx::query(sql).bind(process).execute(&stage.pool).await.unwrap().rows_affected(), 1);
}

async fn ask(ledger: &ServiceLedger, id: &str, alone: bool) -> Verdict {
    ledger.begin(&[arrival(id, RUN, alone)]).await.unwrap().remove(0)
}

async fn results(stage: &Stage) -> Vec<JobResult> {
    let messages = stage.vhost.get_messages("warren.results", 100).await;
    messages.iter().map(|message| JobResult::decode(&message.body).unwrap()).collect()
}

#[tokio::test]
async fn three_starts_without_an_end_are_poison_and_only_then() {
    let stage = Stage::set().await;
    let (mut ledger_now, mut process) = ledger(&stage).await;
    assert_eq!(ask(&ledger_now, "bad", false).await, run(1));
    assert_eq!(ask(&ledger_now, "bad", false).await, run(1), "asking again costs no start");
    for starts in 2..=3 {
        let (next, next_process) = ledger(&stage).await;
        assert_eq!(ask(&next, "bad", false).await, Verdict::Busy);
        assert_eq!(ask(&next, "bad", true).await, Verdict::Busy);
        lapse(&stage, &process).await;
        assert_eq!(ask(&next, "bad", false).await, Verdict::Alone);
        assert_eq!(ask(&next, "bad", true).await, run(starts));
        (ledger_now, process) = (next, next_process);
    }
    drop(ledger_now);
    lapse(&stage, &process).await;
    let (last, _) = ledger(&stage).await;
    let verdicts = last.begin(&[arrival("bad", RUN, false), arrival("good", RUN, false)]).await.unwrap();
    assert_eq!(verdicts, [Verdict::Poisoned, run(1)]);
    let reported = results(&stage).await;
    assert_eq!(reported.len(), 1);
    assert_eq!((reported[0].outcome, reported[0].failure.as_ref().unwrap().code.as_str()), (Reported::Dead, "poison"));
    assert_eq!(ask(&last, "bad", false).await, Verdict::Poisoned, "a redelivery after the report is not started again");
    let redriven = Run { epoch: 2, attempt: 1 };
    assert_eq!(last.begin(&[arrival("bad", redriven, false)]).await.unwrap(), [run(1)]);
}

#[tokio::test]
async fn an_interrupted_run_keeps_its_attempt_and_counts_no_start() {
    let stage = Stage::set().await;
    let (one, _) = ledger(&stage).await;
    for _ in 0..4 {
        assert_eq!(ask(&one, "long", false).await, run(1));
        one.finish(&[ending("long", 1, End::Interrupted)]).await.unwrap();
    }
    assert_eq!(results(&stage).await.len(), 0);
    assert_eq!(stage.count("SELECT count(*) FROM warren_starts").await, 0);
}

#[tokio::test]
async fn what_is_in_the_inbox_is_only_reported() {
    let stage = Stage::set().await;
    let (one, process) = ledger(&stage).await;
    assert_eq!(ask(&one, "paid", false).await, run(1));
    let done = Outcome::Done(Some(b"{\"n\":1}".to_vec().into()));
    assert_eq!(record(&stage, "paid", RUN, &done).await, Entry::New);
    assert_eq!(record(&stage, "paid", RUN, &Outcome::done()).await, Entry::Already(done.clone()));
    // Died after the commit: whoever gets it next reports, a redrive too, and nobody runs it.
    lapse(&stage, &process).await;
    let (other, _) = ledger(&stage).await;
    let redriven = Run { epoch: 2, attempt: 4 };
    let verdicts = other.begin(&[arrival("paid", RUN, false), arrival("paid", redriven, false)]).await.unwrap();
    assert_eq!(verdicts, [Verdict::Stale, Verdict::Stale]);
    let mut reported = results(&stage).await;
    reported.sort_by_key(|result| result.epoch);
    assert_eq!(reported.iter().map(JobResult::run).collect::<Vec<_>>(), [RUN, redriven]);
    assert!(reported.iter().all(|result| result.outcome() == done));
    assert_eq!(stage.count("SELECT count(*) FROM warren_starts").await, 0);
}

#[tokio::test]
async fn a_recorded_rejection_settles_its_own_run_and_not_a_redrive() {
    let stage = Stage::set().await;
    let (one, _) = ledger(&stage).await;
    let rejected = Outcome::Reject(Failure::new("out-of-stock", "none\0left"));
    assert_eq!(record(&stage, "m", RUN, &rejected).await, Entry::New);
    assert_eq!(ask(&one, "m", false).await, Verdict::Stale);
    assert_eq!(results(&stage).await[0].outcome(), rejected);
    let redriven = Run { epoch: 2, attempt: 2 };
    assert_eq!(one.begin(&[arrival("m", redriven, false)]).await.unwrap(), [run(1)]);
    assert_eq!(record(&stage, "m", redriven, &Outcome::done()).await, Entry::New);
    assert_eq!(record(&stage, "m", Run { epoch: 3, attempt: 1 }, &rejected).await, Entry::Already(Outcome::done()));
}

#[tokio::test]
async fn an_entry_that_does_not_read_holds_up_nobody() {
    let stage = Stage::set().await;
    let (one, _) = ledger(&stage).await;
    let _ = record(&stage, "odd", RUN, &Outcome::done()).await;
    sqlx::query("UPDATE warren_inbox SET outcome = '{'").execute(&stage.pool).await.unwrap();
    let verdicts = one.begin(&[arrival("odd", RUN, false), arrival("fine", RUN, false)]).await.unwrap();
    assert!(matches!(&verdicts[0], Verdict::Refused(why) if why.code == "inbox-unreadable"), "{verdicts:?}");
    assert_eq!(verdicts[1], run(1));
}

#[tokio::test]
async fn a_forged_id_harms_no_neighbour() {
    let stage = Stage::set().await;
    let (one, _) = ledger(&stage).await;
    let ids = ["", "nul\0", &"x".repeat(255), "fine", "fine"];
    let arrivals: Vec<Arrival> = ids.iter().map(|id| arrival(id, RUN, false)).collect();
    let verdicts = one.begin(&arrivals).await.unwrap();
    assert!(verdicts[..3].iter().all(|verdict| matches!(verdict, Verdict::Refused(_))), "{verdicts:?}");
    assert_eq!(verdicts[3..], [run(1), Verdict::Busy]);
}

#[tokio::test]
async fn old_entries_are_purged_and_young_ones_kept() {
    let stage = Stage::set().await;
    for id in ["old", "young"] {
        let _ = record(&stage, id, RUN, &Outcome::done()).await;
    }
    sqlx::query("UPDATE warren_inbox SET recorded_at = now() - interval '8 days' WHERE message_id = 'old'")
        .execute(&stage.pool)
        .await
        .unwrap();
    assert_eq!(Inbox::purge(&stage.pool, messaging::inbox::RETENTION).await.unwrap(), 1);
    assert_eq!(stage.count("SELECT count(*) FROM warren_inbox WHERE message_id = 'young'").await, 1);
}

async fn record(stage: &Stage, id: &str, run: Run, outcome: &Outcome) -> Entry {
    let cx = Context {
        id: id.to_owned(),
        kind: "demo".to_owned(),
        queue: QUEUE.to_owned(),
        attempt: run.attempt,
        epoch: run.epoch,
        tenant: String::new(),
        deadline: None,
        traceparent: None,
        interrupted: Default::default(),
        cancelled: Default::default(),
        said: Default::default(),
    };
    let mut tx = stage.pool.begin().await.unwrap();
    let entry = Inbox::record(&mut tx, &cx, outcome).await.unwrap();
    tx.commit().await.unwrap();
    entry
}
