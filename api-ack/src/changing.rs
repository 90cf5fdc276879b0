//! What people do with jobs: cancel one, move one to another time; and how a handler learns that it is not wanted any more.
//!
//! Owns no state. Decides nothing: [`rules`] does. Guarantees: what is answered is stored. A cancel of a job that runs reaches its
//! handler in any process within about a second: each process asks the store once, for all it has been running for a while.
//! Limits: work of kinds with `worker = "amqp"` counts as waiting, since the hub does not see it run; what a service reports for a
//! cancelled job is recorded as late.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use messaging::consumer::Running;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::decide::{after, change};
use crate::relay::HandOver;
use crate::rules::{self, Cancel, Move};
use crate::store::{Job, JobStore, Micros, State, StoreError};
use crate::watch::Watch;
use database::clock;

/// How often a process asks which of its runs are not wanted any more.
const ASK: Duration = Duration::from_millis(500);

/// What has run for less is not asked about: most work is done by then, and costs no query.
const YOUNG: Duration = Duration::from_millis(250);

/// Runs asked about in one statement.
const TOGETHER: usize = 4096;

/// More rounds than this mean that somebody changes the same row without end.
const ROUNDS: usize = 16;

/// Why a job was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No such job.
    #[error("there is no job {0}")]
    Unknown(Uuid),
    /// It is over.
    #[error("the job has ended: it is {0:?}")]
    Ended(State),
    /// It does not wait in the store any more.
    #[error("the job is under way: it is {0:?}")]
    UnderWay(State),
    /// It would be given up before it is due; with its deadline.
    #[error("the job is given up before that time")]
    BeyondDeadline(Micros),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The job is cancelled.
    Done,
    /// It runs: its handler is told, and the job ends as it ends.
    Asked,
}

/// Changes jobs. Cheap to clone.
#[derive(Clone)]
pub struct Changing {
    store: Arc<dyn JobStore>,
    running: Running,
    watch: Watch,
    hand_over: HandOver,
}

impl Changing {
    /// Over `store`; `running` is what this process runs, `watch` is told, `hand_over` is woken when something is due.
    pub fn new(store: Arc<dyn JobStore>, running: Running, watch: Watch, hand_over: HandOver) -> Self {
        Self { store, running, watch, hand_over }
    }

    /// Cancels a job. Asked again, it gives the same answer.
    ///
    /// # Errors
    /// [`ChangeError::Ended`] when it ended in another way; then nothing has changed.
    pub async fn cancel(&self, id: Uuid) -> Result<Cancelled, ChangeError> {
        for _ in 0..ROUNDS {
            let (job, now) = (self.load(id).await?, clock::now());
            match rules::cancel(&job.status, now) {
                Cancel::Done => return Ok(Cancelled::Done),
                Cancel::Ended => return Err(ChangeError::Ended(job.status.state)),
                Cancel::Asked => return Ok(Cancelled::Asked),
                Cancel::Now(to) => {
                    let change = change(&job, to);
                    if self.store.apply(std::slice::from_ref(&change)).await? == [true] {
                        self.watch.tell(&after(&job, &change));
                        return Ok(Cancelled::Done);
                    }
                }
                Cancel::Ask(epoch) => {
                    if self.store.ask_cancel(id, job.version, epoch, now).await? {
                        self.running.cancel(&id.to_string(), job.status.lease);
                        self.watch.note(&job);
                        return Ok(Cancelled::Asked);
                    }
                }
            }
        }
        Err(contended())
    }

    /// Makes a job that waits in the store due at `due_at`; a time that has passed means now.
    ///
    /// # Errors
    /// [`ChangeError::UnderWay`] when it is on its way to the broker, there, or running; then nothing has changed.
    pub async fn move_to(&self, id: Uuid, due_at: Micros) -> Result<(), ChangeError> {
        for _ in 0..ROUNDS {
            let job = self.load(id).await?;
            let to = match rules::move_to(&job.status, due_at, clock::now()) {
                Move::Ended => return Err(ChangeError::Ended(job.status.state)),
                Move::UnderWay => return Err(ChangeError::UnderWay(job.status.state)),
                Move::To(to) => to,
            };
            if to.due_at >= to.deadline {
                return Err(ChangeError::BeyondDeadline(to.deadline));
            }
            let change = change(&job, to);
            if self.store.apply(std::slice::from_ref(&change)).await? == [true] {
                self.watch.tell(&after(&job, &change));
                self.hand_over.wake();
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Tells handlers of this process that are not wanted any more, until `stop`.
    pub async fn follow(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(ASK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.tell_unwanted().await {
                tracing::warn!(error = %error, "cannot ask which runs are not wanted any more, trying again");
            }
        }
    }

    async fn tell_unwanted(&self) -> Result<(), StoreError> {
        let runs = self.running.since(YOUNG);
        for runs in runs.chunks(TOGETHER) {
            let leases: HashMap<Uuid, i64> =
                runs.iter().filter_map(|(id, lease)| Some((Uuid::parse_str(id).ok()?, *lease))).collect();
            let ids: Vec<Uuid> = leases.keys().copied().collect();
            for job in self.store.load(&ids).await? {
                let Some(&lease) = leases.get(&job.id) else { continue };
                // Started again elsewhere, or over without it: its end would come late.
                let lost = job.status.lease != lease || job.status.state != State::Running;
                if lost || job.status.cancel_asked() {
                    self.running.cancel(&job.id.to_string(), lease);
                }
            }
        }
        Ok(())
    }

    async fn load(&self, id: Uuid) -> Result<Job, ChangeError> {
        self.store.load(&[id]).await?.pop().ok_or(ChangeError::Unknown(id))
    }
}

fn contended() -> ChangeError {
    ChangeError::Store(StoreError::Unavailable("the same job is being changed by others all the time".to_owned()))
}
