//! Ends of runs that go on elsewhere, told by whoever holds the token of the run. Grouped: one task takes what is there and has the
//! ledger store it together, and each is answered after that commit.
//!
//! ```text
//! PUT /v1/jobs/{id}/result -> token -> queue -> load, finish (one commit for up to 512) -> 204
//! ```
//!
//! The run may still be under way in a process of the hub: a service that is quick tells the end before its 202 is read. The end of the
//! call then finds it done. What comes for a run that is over changes nothing; the same again is answered as the first time.

use std::collections::HashMap;
use std::sync::Arc;

use messaging::handler::Outcome;
use messaging::ledger::{End, Recorded};
use messaging::message::Run;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::ledger::{Ended, StoreLedger};
use crate::metrics::Metrics;
use crate::progress::{Hearing, Speaker, Word};
use crate::rules::{self, Report};
use crate::store::{Attempt, Job, JobRecord, JobStore, State, StoreError};
use database::clock;

/// Ends stored together.
const TOGETHER: usize = 512;

/// Ends that wait for a commit; beyond it callers are turned away.
const QUEUE: usize = 1024;

/// How often an end is stored anew because its run changed hands; each time somebody else must have begun or left it.
const TRIES: usize = 5;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The job.
    pub job: Uuid,
    /// Which run, as its token says.
    pub run: Run,
    /// How it ended.
    pub outcome: Outcome,
}

/// What became of what was told.
#[derive(Debug)]
pub enum Told {
    /// It counts, now or since it was told before.
    Heard,
    /// The run is over: the job is in this state and at that run. What was told changes nothing.
    Over(State, Run),
    /// There is no such job, or no more.
    Unknown,
}

/// Nothing is known to be stored.
#[derive(Debug, thiserror::Error)]
pub enum CompletionError {
    /// Too many wait already, or the process leaves.
    #[error("too many ends of runs wait to be stored")]
    Busy,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Reply = oneshot::Sender<Result<bool, StoreError>>;

/// Takes ends of runs and words about how far they are. Cheap to clone; its task ends when the last clone is gone.
#[derive(Clone)]
pub struct Completions {
    queue: mpsc::Sender<(Completion, Reply)>,
    store: Arc<dyn JobStore>,
    hearing: Hearing,
    metrics: Arc<Metrics>,
}

impl Completions {
    /// Starts the task.
    pub fn start(
        store: Arc<dyn JobStore>,
        ledger: Arc<StoreLedger>,
        hearing: Hearing,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tasks.spawn(run(store.clone(), ledger, waiting));
        Self { queue, store, hearing, metrics }
    }

    /// Ends a run, and answers once that is durable. Whoever calls has seen its token.
    ///
    /// # Errors
    /// As [`CompletionError`]; the same may be told again.
    pub async fn end(&self, completion: Completion) -> Result<Told, CompletionError> {
        for _ in 0..TRIES {
            let (reply, answer) = oneshot::channel();
            // Waiting for a place would hide the overload from the caller, who can come back.
            self.queue.try_send((completion.clone(), reply)).map_err(|_| CompletionError::Busy)?;
            let ended = answer.await.map_err(|_| CompletionError::Busy)??;
            if let Some(told) = if ended { Some(Told::Heard) } else { self.again(&completion).await? } {
                self.count("result", &told);
                return Ok(told);
            }
        }
        Err(CompletionError::Busy)
    }

    /// Says how far a run is.
    ///
    /// # Errors
    /// As [`CompletionError`].
    pub async fn progress(&self, job: Uuid, run: Run, progress: messaging::said::Progress) -> Result<Told, CompletionError> {
        let told = match self.store.load(&[job]).await?.pop() {
            None => Told::Unknown,
            Some(row) if !is_at(&row, run) => Told::Over(row.status.state, row.status.run()),
            Some(_) => {
                let word = Word { id: job.to_string(), run, lease: 0, progress, token: None };
                self.hearing.hear(&[word], Speaker::Holder).await?;
                Told::Heard
            }
        };
        self.count("progress", &told);
        Ok(told)
    }

    /// What is told of a run that is over: the same as before, or something that comes too late and is only recorded. `None` when it is
    /// not over: it changed hands while its end was on the way, as when a process leaves.
    async fn again(&self, completion: &Completion) -> Result<Option<Told>, StoreError> {
        let Some(record) = self.store.record_of(completion.job).await? else { return Ok(Some(Told::Unknown)) };
        if is_repetition(&record, completion) {
            return Ok(Some(Told::Heard));
        }
        if is_at(&record.job, completion.run) {
            return Ok(None);
        }
        let status = &record.job.status;
        let (end, now) = (End::Outcome(completion.outcome.clone()), clock::now());
        let run = completion.run;
        let report = Report { run, lease: None, end: &end, started_at: None, ended_at: now, worker: "", http_status: None };
        self.store.record(&[(completion.job, rules::late(status, &report))]).await?;
        Ok(Some(Told::Over(status.state, status.run())))
    }

    fn count(&self, what: &str, told: &Told) {
        let result = match told {
            Told::Heard => "heard",
            Told::Over(..) => "over",
            Told::Unknown => "unknown",
        };
        self.metrics.completions.with_label_values(&[what, result]).inc();
    }
}

fn is_at(job: &Job, run: Run) -> bool {
    rules::is_at(&job.status, run, rules::lease_of(&job.status))
}

/// Whether the run has ended like this already.
fn is_repetition(record: &JobRecord, completion: &Completion) -> bool {
    let Completion { run, outcome, .. } = completion;
    let status = &record.job.status;
    if let Outcome::Done(result) = outcome {
        return status.state == State::Succeeded && status.run() == *run && record.result == *result;
    }
    let error = match outcome {
        Outcome::Retry(failure) | Outcome::RetryAfter(_, failure) | Outcome::Reject(failure) => {
            Some(rules::cut(failure.to_string()))
        }
        Outcome::Done(_) | Outcome::Snooze(_) => None,
    };
    let in_row = status.run() == *run && rules::outcome(status) == Some(outcome.name()) && status.error == error;
    let past = |attempt: &&Attempt| (attempt.epoch, attempt.attempt) == (run.epoch, run.attempt);
    in_row || record.history.iter().filter(past).any(|past| past.outcome == outcome.name() && past.error == error)
}

/// Stores what waits, together, until nobody can send any more.
async fn run(store: Arc<dyn JobStore>, ledger: Arc<StoreLedger>, mut waiting: mpsc::Receiver<(Completion, Reply)>) {
    let mut held: Vec<(Completion, Reply)> = Vec::new();
    loop {
        if held.is_empty() && waiting.recv_many(&mut held, TOGETHER).await == 0 {
            return;
        }
        // Of two about one job the second is looked at once the first is stored.
        let (mut batch, mut later) = (HashMap::new(), Vec::new());
        for (completion, reply) in held.drain(..) {
            match batch.entry(completion.job) {
                std::collections::hash_map::Entry::Vacant(free) => drop(free.insert((completion, reply))),
                std::collections::hash_map::Entry::Occupied(_) => later.push((completion, reply)),
            }
        }
        held = later;
        let mut stack: Vec<(Vec<Completion>, Vec<Reply>)> = vec![batch.into_values().unzip()];
        while let Some((mut ends, mut replies)) = stack.pop() {
            match commit(&*store, &ledger, &ends).await {
                Ok(ended) => replies.into_iter().zip(ended).for_each(|(reply, ended)| drop(reply.send(Ok(ended)))),
                // What the database refuses fails alone.
                Err(StoreError::Refused(_)) if ends.len() > 1 => {
                    let half = ends.len() / 2;
                    stack.push((ends.split_off(half), replies.split_off(half)));
                    stack.push((ends, replies));
                }
                Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
            }
        }
    }
}

/// Ends runs of different jobs; answers in order whether each was still there to be ended.
async fn commit(store: &dyn JobStore, ledger: &StoreLedger, ends: &[Completion]) -> Result<Vec<bool>, StoreError> {
    let ids: Vec<Uuid> = ends.iter().map(|end| end.job).collect();
    let known: HashMap<Uuid, Job> = store.load(&ids).await?.into_iter().map(|job| (job.id, job)).collect();
    let now = clock::now();
    let outcomes: Vec<End> = ends.iter().map(|end| End::Outcome(end.outcome.clone())).collect();
    let mut places = Vec::with_capacity(ends.len());
    let mut reports = Vec::with_capacity(ends.len());
    for (at, completion) in ends.iter().enumerate() {
        let Some(job) = known.get(&completion.job).filter(|job| is_at(job, completion.run)) else { continue };
        let status = &job.status;
        let report = Report {
            run: completion.run,
            lease: rules::lease_of(status),
            end: &outcomes[at],
            // As the row has them, of whoever gave the run away.
            started_at: None,
            ended_at: now,
            worker: "",
            http_status: status.http_status.and_then(|status| u16::try_from(status).ok()),
        };
        places.push(at);
        reports.push((completion.job, Ended { report, payload: None }));
    }
    let mut ended = vec![false; ends.len()];
    if !reports.is_empty() {
        let recorded = ledger.finish_reports(&reports, known.clone()).await?;
        places.into_iter().zip(recorded).for_each(|(at, recorded)| ended[at] = recorded == Recorded::Applied);
    }
    Ok(ended)
}
