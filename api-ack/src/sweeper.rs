//! The sweeper is always on: it ends jobs whose deadline has passed and attempts elsewhere that are out of time, publishes again what
//! is nowhere, counts what waits, and purges what is old. Dead letters of older versions get their fingerprint here, some hundreds per pass.
//!
//! Every process counts for its own door; the rest is done by the one that leads ([`Processes::leads`]). Two that lead for a
//! moment do the same thing twice, and the second time changes nothing. It goes easy: after a slow pass it rests in proportion.

mod purge;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker_topology::Names;
use messaging::apply::{QueueLook, look};
use messaging::connection::Link;
use messaging::consumer::rounds;
use messaging::retry::Delay;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::purge::{Purge, Scope};
use crate::accept::Backlog;
use crate::decide::{Decision, change, decide};
use crate::estimates::Estimates;
use crate::kinds::{KindSpec, Kinds};
use crate::ledger::jitter;
use crate::metrics::Metrics;
use crate::pauses::Pauses;
use crate::processes::Processes;
use crate::relay::HandOver;
use crate::rules;
use crate::store::{Attempt, Change, Job, Micros, Priority, Status, StoreError, Stores};
use database::clock;

/// How long ended things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Ended jobs of kinds that do not say it themselves, 7 days by default.
    pub jobs: Duration,
    /// Idempotency keys, 7 days by default.
    pub keys: Duration,
    /// Dead letters, 90 days by default.
    pub dead_letters: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { jobs: 7 * day, keys: 7 * day, dead_letters: 90 * day }
    }
}

/// How often, and how long things may be quiet.
#[derive(Clone, Copy, Debug)]
pub struct SweeperOptions {
    /// Between passes, 1 s by default.
    pub every: Duration,
    /// How long a job in flight may be quiet, beyond what its kind explains, while its queue is empty; 30 s by default.
    pub quiet: Duration,
    /// What is purged.
    pub retention: Retention,
}

impl Default for SweeperOptions {
    fn default() -> Self {
        Self { every: Duration::from_secs(1), quiet: Duration::from_secs(30), retention: Retention::default() }
    }
}

/// The sweeper.
pub struct Sweeper {
    /// The stores.
    pub stores: Stores,
    /// Who lives.
    pub processes: Arc<Processes>,
    /// The kinds.
    pub kinds: Kinds,
    /// Which kinds are paused: their jobs may be quiet for as long as that lasts.
    pub pauses: Pauses,
    /// Names on this broker.
    pub names: Names,
    /// A connection to look at queues with.
    pub link: Link,
    /// The door's counts.
    pub backlog: Arc<Backlog>,
    /// How long jobs wait for their start.
    pub estimates: Arc<Estimates>,
    /// Woken when something is due again.
    pub hand_over: HandOver,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Options.
    pub options: SweeperOptions,
}

/// Rows handled in one go.
const BATCH: u32 = 500;

/// Looks in a row at which no report waited, before a run elsewhere may be out of time: what ended while the hub or the broker was away
/// has been reported, and is no failure.
const HEARD_OUT: u32 = 2;

/// How long one pass may purge: with the rest after it, some thousand rows per second.
const PURGING: Duration = Duration::from_millis(500);

/// The longest rest between two passes.
const LONGEST_REST: Duration = Duration::from_secs(5);

impl Sweeper {
    /// Sweeps until `drain`.
    pub async fn run(self, drain: CancellationToken) {
        let mut lost_at = Instant::now();
        let mut purge_at = Instant::now() + Duration::from_secs(60);
        let mut purge = Purge::default();
        let mut heard_out = 0;
        loop {
            let started = Instant::now();
            if let Err(error) = self.pass(&mut lost_at, &mut heard_out, &mut purge, &mut purge_at).await {
                tracing::warn!(error = %error, "a sweep was cut short");
            }
            // A store that is slow is left alone for longer, within limits: the door goes by what is counted here.
            let rest = (started.elapsed() * 10).clamp(self.options.every, LONGEST_REST.max(self.options.every));
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn pass(
        &self,
        lost_at: &mut Instant,
        heard_out: &mut u32,
        purge: &mut Purge,
        purge_at: &mut Instant,
    ) -> Result<(), StoreError> {
        let mut waiting = self.stores.jobs.backlog(clock::now()).await?;
        // Nothing below waits for it: a door without estimates still opens and closes by the counts.
        if let Err(error) = self.estimates.look(&waiting, &self.ready(self.estimates.asks_broker()).await).await {
            tracing::warn!(error = %error, "cannot see how fast the queues of kinds move");
        }
        waiting.extend(self.hand_over.held());
        self.metrics.waiting(&waiting, clock::now());
        self.backlog.refresh(waiting);
        if !self.processes.leads() {
            // Whoever leads shows how full the queues are; what this process last saw is no news.
            self.metrics.queue_messages.reset();
            return Ok(());
        }
        self.expire().await?;
        self.stores.dead.print_old(BATCH).await?;
        if Instant::now() >= *lost_at {
            *lost_at = Instant::now() + Duration::from_secs(5);
            *heard_out = if self.is_heard_out().await { *heard_out + 1 } else { 0 };
            if *heard_out >= HEARD_OUT {
                self.end_overrun().await?;
            }
            self.find_lost().await?;
        }
        if Instant::now() >= *purge_at {
            let until = Instant::now() + PURGING;
            let (retention, metrics) = (&self.options.retention, &*self.metrics);
            let scope = Scope { stores: &self.stores, kinds: &self.kinds, retention, metrics };
            let more = purge.run(&scope, until).await?;
            *purge_at = Instant::now() + if more { Duration::ZERO } else { Duration::from_secs(60) };
        }
        Ok(())
    }

    /// How many messages are ready in the work queues of these kinds; of what is not known nothing is said.
    async fn ready(&self, kinds: Vec<String>) -> HashMap<String, u64> {
        let specs: Vec<Arc<KindSpec>> = kinds.iter().filter_map(|kind| self.kinds.get(kind)).collect();
        if specs.is_empty() || !self.link.is_usable() {
            return HashMap::new();
        }
        let classes = |spec: &Arc<KindSpec>| if spec.priority.is_some() { &Priority::ALL[..] } else { &[Priority::Normal] };
        // What is handed off is done before it is in a queue, and of a queue that nobody named nothing is known.
        let asked = specs.iter().filter(|spec| !spec.hands_off()).flat_map(|spec| {
            classes(spec).iter().filter_map(move |class| Some((spec.queue(&self.names, *class)?, spec.kind.as_str().to_owned())))
        });
        let (queues, kinds): (Vec<String>, Vec<String>) = asked.unzip();
        let looks = look(&self.link, &queues).await.unwrap_or_default();
        let mut ready: HashMap<String, Option<u64>> = HashMap::new();
        for (kind, look) in kinds.into_iter().zip(looks) {
            let all = ready.entry(kind).or_insert(Some(0));
            *all = all.and_then(|all| Some(all + u64::from(look?.ready)));
        }
        ready.into_iter().filter_map(|(kind, ready)| Some((kind, ready?))).collect()
    }

    /// Ends what is past its deadline.
    async fn expire(&self) -> Result<(), StoreError> {
        let now = clock::now();
        let overdue = self.stores.jobs.overdue(now, BATCH).await?;
        let expired = self.change_all(&overdue, |job| Some((rules::expire(&job.status, now)?, None))).await?;
        self.metrics.swept.with_label_values(&["expired"]).inc_by(expired);
        Ok(())
    }

    /// Whether no report waits to be heard. Those that a process has fetched it will have heard by the next look.
    async fn is_heard_out(&self) -> bool {
        if !self.link.is_usable() {
            return false;
        }
        let looks = look(&self.link, &[self.names.results()]).await.unwrap_or_default();
        matches!(looks.as_slice(), [Some(QueueLook { ready: 0, .. })])
    }

    /// Ends attempts that workers elsewhere have begun and not ended within the time limit of their kind.
    async fn end_overrun(&self) -> Result<(), StoreError> {
        for spec in self.kinds.iter() {
            let limit = micros(spec.timeout);
            loop {
                let now = clock::now();
                let kind = spec.kind.as_str();
                let overrun = self.stores.jobs.overrun(kind, now.saturating_sub(limit), BATCH).await?;
                let elsewhere = spec.existing.is_some();
                let rule = |job: &Job| {
                    let (to, history) = rules::overrun(&job.status, limit, &spec.retry, now, jitter(job.id))?;
                    Some((if elsewhere { rules::off_rungs(to, now) } else { to }, history))
                };
                let ended = self.change_all(&overrun, rule).await?;
                self.metrics.swept.with_label_values(&["timed-out"]).inc_by(ended);
                if ended > 0 {
                    self.hand_over.wake();
                }
                // What was left as it is would be found again at once.
                if overrun.len() < BATCH as usize || ended == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Publishes again what is in flight by the row, and nowhere by the broker.
    async fn find_lost(&self) -> Result<(), StoreError> {
        // Nothing can be said about a broker that is away, and nobody waits for it here.
        if !self.link.is_usable() {
            return Ok(());
        }
        // Of a kind with two queues each is looked at for the jobs of its class; one queue may hold jobs of both, of before.
        let queues_of = |spec: Arc<KindSpec>| {
            let classes = if spec.priority.is_some() { Priority::ALL.map(Some).to_vec() } else { vec![None] };
            classes.into_iter().map(move |class| (spec.clone(), class))
        };
        let mut kinds = Vec::new();
        let mut queues = Vec::new();
        for (spec, class) in self.kinds.iter().flat_map(queues_of) {
            // Of a queue that is somebody else's and not named nothing is known.
            if let Some(queue) = spec.queue(&self.names, class.unwrap_or_default()) {
                queues.push(queue);
                kinds.push((spec, class));
            }
        }
        let looks = match look(&self.link, &queues).await {
            Ok(looks) => looks,
            Err(_) => return Ok(()),
        };
        for (((spec, class), queue), seen) in kinds.into_iter().zip(&queues).zip(looks) {
            let ready = seen.map_or(0, |QueueLook { ready, .. }| ready);
            self.metrics.queue_messages.with_label_values(&[queue.as_str()]).set(i64::from(ready));
            // While messages wait in the queue, a quiet job is most likely one of them.
            if ready > 0 || seen.is_none() || spec.hands_off() {
                continue;
            }
            let now = clock::now();
            let before = now.saturating_sub(micros(self.patience(&spec)));
            // Nor is anything of a paused kind, and after the resume it all begins again.
            if self.pauses.explains(spec.kind.as_str(), before) {
                continue;
            }
            let quiet = self.stores.jobs.quiet(spec.kind.as_str(), class, before, BATCH).await?;
            let lost = |job: &Job| Some((rules::republish(&job.status, |p| self.processes.lives(p), now)?, None));
            let again = self.change_all(&quiet, lost).await?;
            if again > 0 {
                tracing::warn!(kind = %spec.kind, jobs = again, "jobs were in flight and nowhere, publishing them again");
                self.metrics.swept.with_label_values(&["republished"]).inc_by(again);
                self.hand_over.wake();
            }
        }
        Ok(())
    }

    /// How long a job of a kind may be quiet with nothing wrong: waiting in its longest rung, or prefetched behind others.
    fn patience(&self, spec: &KindSpec) -> Duration {
        let rung = spec.retry.delays.iter().filter_map(|delay| match delay {
            Delay::Rung(rung) => Some(rung.delay()),
            Delay::Store(_) => None,
        });
        // What is acked early waits behind nothing.
        let held = match spec.early {
            true => Duration::ZERO,
            false => spec.attempt.saturating_mul(rounds(spec.prefetch, spec.concurrency, spec.priority.is_some()).max(1)),
        };
        self.options.quiet + held.max(rung.max().unwrap_or_default())
    }

    async fn change_all(
        &self,
        jobs: &[Job],
        rule: impl Fn(&Job) -> Option<(Status, Option<Attempt>)>,
    ) -> Result<u64, StoreError> {
        let known = jobs.iter().map(|job| (job.id, job.clone())).collect();
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
        let changed = decide(
            &*self.stores.jobs,
            &ids,
            known,
            |id| *id,
            |_, job| match job.and_then(|job| Some((job, rule(job)?))) {
                Some((job, (to, history))) => Decision::Apply(Change { history, ..change(job, to) }, 1),
                None => Decision::Settled(0),
            },
        )
        .await?;
        for (job, _) in jobs.iter().zip(&changed).filter(|(_, changed)| **changed > 0) {
            self.hand_over.note(&job.kind, job.id);
        }
        Ok(changed.into_iter().sum())
    }
}

fn micros(span: Duration) -> Micros {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4)
}
