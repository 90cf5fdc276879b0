//! Jobs by the clock: `[[cron]]` entries, each tick one job.
//!
//! Owns no table. A tick is a submission whose idempotency key is the entry and the tick's time, so every process with the door
//! may offer it, and the first makes the job: exactly one per tick, whatever the number of processes, and none is the leader.
//!
//! Guarantees: a tick is offered until it is decided, while the store is away too. Limits: a tick that no process lived to see,
//! or that could not be offered for longer than [`LATE`] or `catch_up`, is left out and logged; keys are remembered as long as
//! retention says, which must be longer than `catch_up`. What clocks do that go forward or back: [`Schedule::next`].

mod schedule;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use schedule::{BadSchedule, Schedule};

use crate::accept::{AcceptError, Acceptor, Submission, Timing};
use crate::kinds::JSON;
use crate::store::{JobStore, Micros, StoreError};
use crate::tags::Tags;
use database::clock;

/// The route that keys of ticks are scoped by.
const ROUTE: &str = "cron";

/// How late a tick may be offered, unless its `catch_up` is longer.
pub const LATE: Duration = Duration::from_secs(60);

/// Between two tries to offer a tick.
const AGAIN: Duration = Duration::from_secs(1);

/// Ticks looked back at for one that has a job, when a process has just started.
const LOOKS: usize = 2000;

/// The longest sleep: the wall clock may be set.
const NAP: Duration = Duration::from_secs(20);

/// One `[[cron]]` entry.
#[derive(Clone, Debug)]
pub struct CronSpec {
    /// Its stable name; the subject of its jobs is `cron:<name>`.
    pub name: String,
    /// When.
    pub schedule: Schedule,
    /// The kind of its jobs.
    pub kind: String,
    /// Whose they are.
    pub tenant: String,
    /// Their payload, JSON.
    pub data: Bytes,
    /// Words to find them by.
    pub tags: Tags,
    /// What to do while the job of the tick before has not ended.
    pub overlap: Overlap,
    /// How far back a process that starts looks for a tick that nobody saw; only the latest is made up for. Zero for not at all.
    pub catch_up: Duration,
}

impl CronSpec {
    /// A process that stood still, or a store that was away for long, does not flood anybody with what is past: of all that was
    /// missed only the latest tick is caught up with.
    fn is_too_late(&self, tick: Micros, now: Micros) -> bool {
        let latest = self.schedule.next(tick).is_none_or(|next| next > now);
        now - tick > micros(if latest { LATE.max(self.catch_up) } else { LATE })
    }
}

/// What to do with a tick while the job of the tick before has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Make its job all the same.
    Allow,
    /// Leave it out.
    Skip,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    /// It has its job, by this process or by another.
    Made(Uuid),
    /// The job before still runs.
    Skipped,
    /// There is nothing more to be done about it.
    GivenUp,
}

/// Offers every tick of `entries` until `drain`.
pub async fn run(entries: Vec<CronSpec>, acceptor: Acceptor, store: Arc<dyn JobStore>, drain: CancellationToken) {
    let driving = entries.into_iter().map(|entry| Driver { entry, acceptor: acceptor.clone(), store: store.clone() }.run());
    tokio::select! {
        () = drain.cancelled() => {}
        _ = join_all(driving) => {}
    }
}

/// A tick that has its job.
#[derive(Clone, Copy)]
struct Made {
    tick: Micros,
    job: Uuid,
}

struct Driver {
    entry: CronSpec,
    acceptor: Acceptor,
    store: Arc<dyn JobStore>,
}

impl Driver {
    async fn run(self) {
        let mut seen = clock::now();
        let mut previous = None;
        if let Some(tick) = self.entry.schedule.latest(seen - micros(self.entry.catch_up), seen) {
            previous = self.offer(tick, previous).await;
        }
        while let Some(tick) = self.entry.schedule.next(seen) {
            sleep_until(tick).await;
            if self.entry.is_too_late(tick, clock::now()) {
                tracing::warn!(cron = self.entry.name, tick = %clock::timestamp(tick), "a tick is too late and left out");
            } else {
                previous = self.offer(tick, previous).await.or(previous);
            }
            seen = tick;
        }
    }

    /// Offers a tick until it is decided; answers its job.
    async fn offer(&self, tick: Micros, previous: Option<Made>) -> Option<Made> {
        loop {
            match self.try_offer(tick, previous).await {
                Ok(Tick::Made(job)) => {
                    tracing::debug!(cron = self.entry.name, tick = %clock::timestamp(tick), job = %job, "a tick has its job");
                    return Some(Made { tick, job });
                }
                Ok(Tick::Skipped) => {
                    tracing::info!(cron = self.entry.name, tick = %clock::timestamp(tick), "the job before still runs, this tick is left out");
                    return None;
                }
                Ok(Tick::GivenUp) => return None,
                Err(error) => {
                    if self.entry.is_too_late(tick, clock::now()) {
                        tracing::error!(cron = self.entry.name, tick = %clock::timestamp(tick), error = %error, "a tick could not be offered and is left out");
                        return None;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// `Err` for what may work in a moment.
    async fn try_offer(&self, tick: Micros, previous: Option<Made>) -> Result<Tick, String> {
        if self.entry.overlap == Overlap::Skip && self.overlaps(tick, previous).await.map_err(|error| error.to_string())? {
            return Ok(Tick::Skipped);
        }
        match self.acceptor.accept_traced(self.submission(tick)).await {
            Ok(accepted) => Ok(Tick::Made(accepted.id)),
            // Another process has made it, of an entry that says something else: theirs is the job of this tick.
            Err(AcceptError::KeyReused) => {
                let job = self.job_of(tick).await.map_err(|error| error.to_string())?;
                Ok(job.map_or(Tick::GivenUp, Tick::Made))
            }
            Err(
                error @ (AcceptError::UnknownKind(_)
                | AcceptError::Refused(_)
                | AcceptError::Timing(_)
                | AcceptError::Priority(_)
                | AcceptError::Callback(_)),
            ) => {
                tracing::error!(cron = self.entry.name, tick = %clock::timestamp(tick), error = %error, "a tick can have no job");
                Ok(Tick::GivenUp)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn submission(&self, tick: Micros) -> Submission {
        Submission {
            kind: self.entry.kind.clone(),
            tenant: self.entry.tenant.clone(),
            subject: self.subject(),
            route: ROUTE.to_owned(),
            content_type: JSON.to_owned(),
            body: self.entry.data.clone(),
            traceparent: None,
            key: Some(self.key(tick)),
            timing: Timing::default(),
            priority: None,
            tags: self.entry.tags.clone(),
            callback: None,
            patient: true,
        }
    }

    /// Whether the job of a tick before `tick` has not ended. `previous` is the latest that is known here.
    async fn overlaps(&self, tick: Micros, previous: Option<Made>) -> Result<bool, StoreError> {
        let mut before: Vec<Uuid> = previous.iter().map(|made| made.job).collect();
        // Of ticks since then another process may have made one: it may have looked a moment after the job before had ended.
        if previous.is_none_or(|made| self.entry.schedule.next(made.tick) != Some(tick)) {
            before.extend(self.last_job(tick).await?);
        }
        let jobs = self.store.load(&before).await?;
        Ok(jobs.iter().any(|job| !job.status.state.is_end()))
    }

    /// The latest job of a tick before `tick`, by the keys of the ticks: a live one is no older than its kind's deadline.
    async fn last_job(&self, tick: Micros) -> Result<Option<Uuid>, StoreError> {
        let Some(spec) = self.acceptor.kinds().get(&self.entry.kind) else { return Ok(None) };
        let first = self.entry.schedule.next(tick - micros(spec.deadline));
        let ticks = std::iter::successors(first, |at| self.entry.schedule.next(*at)).take_while(|at| *at < tick);
        let ticks: Vec<Micros> = ticks.collect();
        for at in ticks.into_iter().rev().take(LOOKS) {
            if let Some(job) = self.job_of(at).await? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// The job that a tick has, if it has one.
    async fn job_of(&self, tick: Micros) -> Result<Option<Uuid>, StoreError> {
        let hash = door::key::hash(&self.entry.tenant, &self.subject(), ROUTE, &self.key(tick));
        Ok(self.store.holder(hash).await?.map(|(id, _)| id))
    }

    fn subject(&self) -> String {
        format!("cron:{}", self.entry.name)
    }

    fn key(&self, tick: Micros) -> String {
        clock::timestamp(tick).to_string()
    }
}

/// Sleeps until the wall clock says `at`, in naps: it may be set, and a machine may sleep.
async fn sleep_until(at: Micros) {
    loop {
        let left = Timestamp::now().duration_until(clock::timestamp(at));
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(NAP)).await,
            _ => return,
        }
    }
}

fn micros(span: Duration) -> Micros {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_was_missed_only_the_latest_tick_is_caught_up_with() {
        const MINUTE: Micros = 60_000_000;
        let every_minute = CronSpec {
            name: "n".to_owned(),
            schedule: Schedule::parse("* * * * *", "UTC").unwrap(),
            kind: "k".to_owned(),
            tenant: String::new(),
            data: Bytes::new(),
            tags: Default::default(),
            overlap: Overlap::Allow,
            catch_up: Duration::from_secs(86_400),
        };
        // The store was away for six hours and half a minute.
        let now = 1000 * MINUTE + MINUTE / 2;
        let late = |tick: Micros| every_minute.is_too_late(tick * MINUTE, now);
        assert!((640..999).all(late));
        assert!(!late(1000));
        let daily = CronSpec { schedule: Schedule::parse("0 0 * * *", "UTC").unwrap(), ..every_minute.clone() };
        assert!(!daily.is_too_late(0, now), "the latest, 16 hours ago");
        assert!(CronSpec { catch_up: Duration::from_secs(3600), ..daily }.is_too_late(0, now));
    }
}
