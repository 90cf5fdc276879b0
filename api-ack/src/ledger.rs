//! The hub's own [`JobLedger`]: starts and ends go straight to the jobs table, in batches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use messaging::handler::{Failure, Outcome};
use messaging::ledger::{Arrival, End, Ending, JobLedger, LedgerError, Recorded, Verdict};
use messaging::message::{Message, Run};
use messaging::results::MAX_RESULT;
use messaging::retry::RetryPolicy;
use uuid::Uuid;

use crate::decide::{Decision, after, change, decide};
use crate::destinations::Destinations;
use crate::estimates::Estimates;
use crate::kinds::Kinds;
use crate::processes::Processes;
use crate::relay::{HandOver, Ticket};
use crate::rules::{self, Begin, Claim, Finish, Report};
use crate::store::{Attempt, Change, Job, JobStore, Micros, Outlet, Payload, State, Status, StoreError};
use crate::watch::Watch;
use database::clock;

/// Starts and ends in the jobs table.
pub struct StoreLedger {
    store: Arc<dyn JobStore>,
    processes: Arc<Processes>,
    kinds: Kinds,
    hand_over: HandOver,
    /// Rows this process began, as it left them: their ends need no load.
    begun: Mutex<HashMap<Uuid, Job>>,
    /// What the kinds' handlers call, and what of it is left alone now.
    destinations: Option<Arc<Destinations>>,
    /// Who waits for jobs that this process changes.
    watch: Option<Watch>,
    /// Who counts the attempts that end here.
    estimates: Option<Arc<Estimates>>,
    /// What this process is called in the history of attempts.
    worker: String,
}

/// A row after a change, and its place in the relay's memory if it now waits to be published.
struct Changed {
    job: Job,
    ticket: Option<Ticket>,
}

impl StoreLedger {
    /// A ledger over `store` that hands next attempts and dead letters over to the relay.
    pub fn new(store: Arc<dyn JobStore>, processes: Arc<Processes>, kinds: Kinds, hand_over: HandOver) -> Self {
        Self {
            store,
            processes,
            kinds,
            hand_over,
            begun: Mutex::default(),
            destinations: None,
            watch: None,
            estimates: None,
            worker: "hub".to_owned(),
        }
    }

    /// Puts this process down as `worker` in the attempts it starts; `hub` unless told.
    #[must_use]
    pub fn named(self, worker: String) -> Self {
        Self { worker, ..self }
    }

    /// Starts nothing whose destination is held.
    #[must_use]
    pub fn heeding(self, destinations: Arc<Destinations>) -> Self {
        Self { destinations: Some(destinations), ..self }
    }

    /// Tells `watch` of every start and end.
    #[must_use]
    pub fn watched_by(self, watch: Watch) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Tells `estimates` of every attempt that ends and makes room for another.
    #[must_use]
    pub fn counted_by(self, estimates: Arc<Estimates>) -> Self {
        Self { estimates: Some(estimates), ..self }
    }

    /// A process that joined since the last beat is not yet known here: learn who lives before calling anybody dead.
    async fn know_owners(&self, rows: &HashMap<Uuid, Job>) -> Result<(), StoreError> {
        let me = self.processes.me();
        let stranger = |job: &&Job| job.status.owner.is_some_and(|owner| owner != me && !self.processes.lives(owner));
        if rows.values().filter(|job| job.status.state == State::Running).any(|job| stranger(&job)) {
            self.processes.refresh().await?;
        }
        Ok(())
    }

    /// Stores `change` as this process's own if the relay has room for what then waits to be published. Without the payload at
    /// hand it is stored without an owner, and the relay reads it back.
    fn place(&self, job: &Job, mut change: Change, payload: Option<&Payload>) -> (Change, Changed) {
        let due_now = change.to.outlet.is_some() && change.to.due_at <= change.to.updated_at;
        let mut job = after(job, &change);
        let ticket = payload.filter(|_| due_now).and_then(|payload| self.hand_over.reserve(&job, payload));
        if ticket.is_some() {
            change.to.owner = Some(self.hand_over.me());
            job.status.owner = change.to.owner;
        }
        (change, Changed { job, ticket })
    }

    /// Passes an answer on; without one, rows may be stored as this process's own that it will not hold.
    async fn sure<T>(&self, deciding: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        deciding.await.inspect_err(|_| self.hand_over.doubt())
    }

    fn held_until(&self, kind: &str) -> Option<Micros> {
        self.destinations.as_ref()?.held_until(kind)
    }

    fn tell(&self, job: &Job) {
        if let Some(watch) = &self.watch {
            watch.tell(job);
        }
    }

    fn give(&self, changed: Changed, payload: Option<Payload>) {
        self.tell(&changed.job);
        match (changed.ticket, payload) {
            (Some(ticket), Some(payload)) => self.hand_over.give(changed.job, payload, ticket),
            _ if changed.job.status.outlet.is_some() => self.hand_over.waits(&changed.job),
            _ => {}
        }
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Job>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policy(&self, kind: &str) -> RetryPolicy {
        self.kinds.get(kind).map(|spec| spec.retry.clone()).unwrap_or_default()
    }

    async fn begin_known(&self, arrivals: &[(Uuid, &Arrival)]) -> Result<Vec<Verdict>, StoreError> {
        let ids: Vec<Uuid> = arrivals.iter().map(|(id, _)| *id).collect();
        let rows: HashMap<Uuid, Job> = self.store.load(&ids).await?.into_iter().map(|job| (job.id, job)).collect();
        self.know_owners(&rows).await?;
        let (me, now) = (self.processes.me(), clock::now());
        let decided = self
            .sure(decide(
                &*self.store,
                arrivals,
                rows,
                |(id, _)| *id,
                |(_, arrival), job| {
                    let Some(job) = job else {
                        let why = format!("there is no job {} in this hub's store", arrival.message.id);
                        return Decision::Settled((Verdict::Refused(Failure::new("unknown-job", why)), None));
                    };
                    let claim = Claim { run: arrival.run, alone: arrival.alone, early: arrival.early };
                    match rules::begin(&job.status, claim, me, |owner| self.processes.lives(owner), now) {
                        Begin::Alone => Decision::Settled((Verdict::Alone, None)),
                        Begin::Busy => Decision::Settled((Verdict::Busy, None)),
                        Begin::Stale => Decision::Settled((Verdict::Stale, None)),
                        // Thousands may lie at the broker when a destination falls sick: here they cost a share of one statement each.
                        Begin::Run(_) if let Some(until) = self.held_until(&job.kind) => {
                            let change = change(job, rules::put_off(&job.status, until, now));
                            let changed = Changed { job: after(job, &change), ticket: None };
                            Decision::Apply(change, (Verdict::PutOff, Some(changed)))
                        }
                        Begin::Run(to) => {
                            let to = Status { worker: Some(self.worker.clone()), ..to };
                            let verdict = Verdict::Run { lease: to.lease, deadline: Some(clock::timestamp(to.deadline)) };
                            let change = change(job, to);
                            let changed = Changed { job: after(job, &change), ticket: None };
                            Decision::Apply(change, (verdict, Some(changed)))
                        }
                        Begin::Cancelled(to) => {
                            let change = change(job, to);
                            let changed = Changed { job: after(job, &change), ticket: None };
                            Decision::Apply(change, (Verdict::Stale, Some(changed)))
                        }
                        Begin::Poisoned(to) => {
                            let (change, changed) = self.place(job, change(job, to), Some(&payload_of(&arrival.message)));
                            Decision::Apply(change, (Verdict::Poisoned, Some(changed)))
                        }
                    }
                },
            ))
            .await?;
        let mut verdicts = Vec::with_capacity(decided.len());
        for ((verdict, changed), (id, arrival)) in decided.into_iter().zip(arrivals) {
            match (&verdict, changed) {
                (Verdict::Run { .. }, Some(changed)) => {
                    self.tell(&changed.job);
                    self.begun().insert(*id, changed.job);
                }
                (_, Some(changed)) => self.give(changed, Some(payload_of(&arrival.message))),
                (_, None) => {}
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    async fn finish_all(&self, endings: &[Ending]) -> Result<Vec<Recorded>, StoreError> {
        let ends: Vec<(Uuid, Ended<'_>)> = endings
            .iter()
            .filter_map(|ending| {
                let report = Report {
                    run: ending.run,
                    lease: Some(ending.lease),
                    end: &ending.end,
                    started_at: Some(ending.started_at.as_microsecond()),
                    ended_at: ending.ended_at.as_microsecond(),
                    worker: &self.worker,
                    http_status: ending.http_status,
                };
                // Only what was begun is ended, and only ids were begun.
                Some((Uuid::parse_str(&ending.message.id).ok()?, Ended { report, payload: Some(payload_of(&ending.message)) }))
            })
            .collect();
        let known: HashMap<Uuid, Job> = {
            let begun = self.begun();
            ends.iter().filter_map(|(id, _)| Some((*id, begun.get(id)?.clone()))).collect()
        };
        let recorded = self.finish_reports(&ends, known).await?;
        let mut begun = self.begun();
        for (id, ended) in &ends {
            // A newer start of the same job by this process is another lease: keep that one.
            if begun.get(id).is_some_and(|job| Some(job.status.lease) == ended.report.lease) {
                begun.remove(id);
            }
        }
        Ok(recorded)
    }

    /// Runs that workers elsewhere say have begun; answers in order with the row that is news.
    pub(crate) async fn start_reports(
        &self,
        starts: &[(Uuid, Started<'_>)],
        known: HashMap<Uuid, Job>,
    ) -> Result<Vec<Option<Job>>, StoreError> {
        let now = clock::now();
        let decided = decide(
            &*self.store,
            starts,
            known,
            |(id, _)| *id,
            |(_, Started { run, at, worker }), job| {
                let began = job.and_then(|job| Some((job, rules::started(&job.status, *run, *at, worker, now)?)));
                match began {
                    Some((job, to)) => {
                        let change = change(job, to);
                        let job = after(job, &change);
                        Decision::Apply(change, Some(job))
                    }
                    None => Decision::Settled(None),
                }
            },
        );
        // A relay of this process may hold the row: what it then marks is void, as after any start.
        let changed = self.sure(decided).await?;
        changed.iter().flatten().for_each(|job| self.tell(job));
        Ok(changed)
    }

    /// Ends attempts, wherever the report comes from; answers in order.
    pub(crate) async fn finish_reports(
        &self,
        ends: &[(Uuid, Ended<'_>)],
        known: HashMap<Uuid, Job>,
    ) -> Result<Vec<Recorded>, StoreError> {
        let now = clock::now();
        let decided = self
            .sure(decide(
                &*self.store,
                ends,
                known,
                |(id, _)| *id,
                |(_, ended), job| {
                    let Some(job) = job else { return Decision::Settled(Ok(None)) };
                    match rules::finish(&job.status, &ended.report, &self.policy(&job.kind), now, jitter(job.id)) {
                        Finish::Late(attempt) => Decision::Settled(Err((job.clone(), attempt))),
                        Finish::Over => Decision::Settled(Ok(None)),
                        Finish::Applied(to, history) => {
                            let elsewhere = || self.kinds.get(&job.kind).is_some_and(|spec| spec.existing.is_some());
                            let by_rung = matches!(to.outlet, Some(Outlet::Rung(_)));
                            let to = if by_rung && elsewhere() { rules::off_rungs(*to, now) } else { *to };
                            let result = result_of(job.id, ended.report.end);
                            let (change, changed) =
                                self.place(job, Change { history, result, ..change(job, to) }, ended.payload.as_ref());
                            Decision::Apply(change, Ok(Some(changed)))
                        }
                    }
                },
            ))
            .await?;
        let late: Vec<&(Job, Attempt)> = decided.iter().filter_map(|decided| decided.as_ref().err()).collect();
        if !late.is_empty() {
            let records: Vec<(Uuid, Attempt)> = late.iter().map(|(job, attempt)| (job.id, attempt.clone())).collect();
            self.store.record(&records).await?;
            // It may be late because it was stored before, by a write without an answer.
            late.iter().for_each(|(job, _)| self.tell(job));
        }
        let answers = decided.into_iter().zip(ends).map(|(decided, (_, ended))| match decided {
            Ok(Some(changed)) => {
                if let (Some(estimates), true) = (&self.estimates, took_its_turn(ended.report.end)) {
                    estimates.ended(&changed.job.kind);
                }
                self.give(changed, ended.payload.clone());
                Recorded::Applied
            }
            Ok(None) if *ended.report.end == End::Parked => Recorded::Applied,
            Ok(None) | Err(_) => Recorded::Late,
        });
        Ok(answers.collect())
    }
}

/// What a worker elsewhere says of a start.
pub(crate) struct Started<'a> {
    pub(crate) run: Run,
    /// By its clock, if it says.
    pub(crate) at: Option<Micros>,
    pub(crate) worker: &'a str,
}

/// A report, with the bytes a next attempt would carry if they are at hand.
pub(crate) struct Ended<'a> {
    pub(crate) report: Report<'a>,
    pub(crate) payload: Option<Payload>,
}

#[async_trait]
impl JobLedger for StoreLedger {
    async fn begin(&self, arrivals: &[Arrival]) -> Result<Vec<Verdict>, LedgerError> {
        let mut verdicts: Vec<Option<Verdict>> = vec![None; arrivals.len()];
        let mut known = Vec::with_capacity(arrivals.len());
        for (at, arrival) in arrivals.iter().enumerate() {
            match Uuid::parse_str(&arrival.message.id) {
                Ok(id) => known.push((at, (id, arrival))),
                Err(_) => {
                    let why = format!("`{}` is not the id of a job", arrival.message.id);
                    verdicts[at] = Some(Verdict::Refused(Failure::new("undecodable", why)));
                }
            }
        }
        let (places, jobs): (Vec<usize>, Vec<(Uuid, &Arrival)>) = known.into_iter().unzip();
        if !jobs.is_empty() {
            let answers = self.begin_known(&jobs).await.map_err(unanswered)?;
            places.into_iter().zip(answers).for_each(|(at, verdict)| verdicts[at] = Some(verdict));
        }
        Ok(verdicts.into_iter().flatten().collect())
    }

    async fn finish(&self, endings: &[Ending]) -> Result<Vec<Recorded>, LedgerError> {
        self.finish_all(endings).await.map_err(unanswered)
    }
}

/// Whether an attempt did what it had waited for. One that was put off or cut short waits again, and who is behind it waits as before.
fn took_its_turn(end: &End) -> bool {
    !matches!(end, End::Interrupted | End::Parked | End::Outcome(Outcome::Snooze(_)))
}

fn unanswered(error: StoreError) -> LedgerError {
    LedgerError(Box::new(error))
}

/// What is kept of a result: as much as a service may report, so that where a handler runs makes no difference.
fn result_of(job: Uuid, end: &End) -> Option<bytes::Bytes> {
    let End::Outcome(Outcome::Done(Some(result))) = end else { return None };
    if result.len() > MAX_RESULT {
        tracing::warn!(job = %job, bytes = result.len(), limit = MAX_RESULT, "the result is too large and is not kept");
        return None;
    }
    Some(result.clone())
}

/// What a next attempt or a dead letter carries: what this one carried.
fn payload_of(message: &Message) -> Payload {
    Payload {
        subject: String::new(),
        content_type: message.content_type.clone(),
        body: message.body.clone(),
        traceparent: message.traceparent.clone(),
    }
}

/// Jitter that needs no generator: the random end of the id, turned by the clock.
pub(crate) fn jitter(id: Uuid) -> f64 {
    let mixed = (id.as_u128() as u64 ^ clock::now().unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}
