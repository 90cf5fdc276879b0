//! The ledger of a process without the hub's database: inbox and starts in its own, outcomes to `warren.results`.
//!
//! ```text
//! begin   in the inbox                -> its outcome is reported again, confirmed -> Stale
//!         first start                 -> starts = 1                               -> Run
//!         another live process has it                                             -> Busy
//!         started before, no end      -> Alone, then starts + 1                   -> Run
//!         three starts without an end -> `dead` with reason `poison`, confirmed   -> Poisoned
//! finish  outcomes are reported, all confirmed; then the starts are cleared; then the consumer acks
//! ```
//!
//! With a handler that makes its effect and its [`inbox`] entry one transaction, a crash at any line is delivered
//! again and either runs (nothing was committed) or only reports.
//!
//! Limits: what such a process cannot know (a cancel, a newer epoch) is settled by the hub when the outcome reaches it. A process
//! that stands still for over 10 s may see its run started elsewhere; the inbox keeps the effect single.

mod starts;

use async_trait::async_trait;
use broker_topology::Names;
use futures::future::try_join_all;
use sqlx::PgPool;

use crate::handler::Failure;
use crate::inbox;
use crate::ledger::{Arrival, End, Ending, JobLedger, LedgerError, Recorded, Verdict};
use crate::message::Run;
use crate::process::Process;
use crate::publisher::Publisher;
use crate::results::JobResult;
use crate::wire::Outbound;

use starts::Claim;
pub use starts::purge;

/// Starts without an end after which a message is given up.
pub const MAX_STARTS: i32 = 3;

/// The longest job id: its results carry it, with the run, as their own id.
const MAX_ID: usize = 200;

/// See the module.
#[derive(Clone, Debug)]
pub struct ServiceLedger {
    pool: PgPool,
    publisher: Publisher,
    names: Names,
    process: Process,
    service: String,
}

impl ServiceLedger {
    /// A ledger of `service`, whose heartbeat `process` is kept going by the caller.
    pub fn new(pool: PgPool, publisher: Publisher, names: Names, process: Process, service: impl Into<String>) -> Self {
        Self { pool, publisher, names, process, service: service.into() }
    }

    async fn report(&self, results: impl IntoIterator<Item = JobResult>) -> Result<(), LedgerError> {
        let publishes = results.into_iter().map(|result| async move {
            let (route, message) = result.message(&self.names).map_err(error)?;
            let outbound = Outbound::new(route, &message).map_err(error)?;
            self.publisher.publish(outbound).await.map_err(error)
        });
        try_join_all(publishes).await.map(drop)
    }

    async fn claim(&self, queue: &str, arrivals: &[&Arrival], alone: bool) -> Result<Vec<Verdict>, LedgerError> {
        let runs: Vec<(&str, Run)> = arrivals.iter().map(|arrival| (arrival.message.id.as_str(), arrival.run)).collect();
        let claims = starts::claim(&self.pool, self.process.id(), queue, &runs, alone).await.map_err(error)?;
        let (mut reports, mut settled) = (Vec::new(), Vec::new());
        let mut verdicts = Vec::with_capacity(runs.len());
        for (((id, run), arrival), claim) in runs.iter().zip(arrivals).zip(claims) {
            let token = arrival.message.token();
            verdicts.push(match claim {
                Claim::Mine { starts } => Verdict::Run { lease: i64::from(starts), deadline: None },
                Claim::Elsewhere => Verdict::Busy,
                Claim::Unended { starts } if starts >= MAX_STARTS => {
                    reports.push(JobResult::dead(id, *run, &poison(starts), &self.service).with_token(token));
                    // The row stays: a redelivery after the report is not to start afresh. A redrive has an epoch of its own.
                    Verdict::Poisoned
                }
                // It asked alone, and somebody else was faster.
                Claim::Unended { .. } if alone => Verdict::Busy,
                Claim::Unended { .. } => Verdict::Alone,
                Claim::Settled { outcome } => match inbox::decode(id, &outcome) {
                    Ok(outcome) => {
                        reports.push(JobResult::from_outcome(id, *run, &outcome, &self.service).with_token(token));
                        settled.push((*id, *run));
                        Verdict::Stale
                    }
                    // Written by something else. One such row must not hold up the queue.
                    Err(why) => Verdict::Refused(Failure::new("inbox-unreadable", why.to_string())),
                },
            });
        }
        self.report(reports).await?;
        starts::forget(&self.pool, queue, &settled).await.map_err(error)?;
        Ok(verdicts)
    }
}

#[async_trait]
impl JobLedger for ServiceLedger {
    async fn begin(&self, arrivals: &[Arrival]) -> Result<Vec<Verdict>, LedgerError> {
        let mut verdicts: Vec<Option<Verdict>> = arrivals.iter().map(unknowable).collect();
        // One statement each for those that are alone and those that are not; a batch is of one queue and almost always of one sort.
        for group in groups(arrivals, &verdicts) {
            let of_group: Vec<&Arrival> = group.iter().map(|at| &arrivals[*at]).collect();
            let claimed = self.claim(&of_group[0].queue, &of_group, of_group[0].alone).await?;
            for (at, verdict) in group.into_iter().zip(claimed) {
                verdicts[at] = Some(verdict);
            }
        }
        Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Busy)).collect())
    }

    async fn finish(&self, endings: &[Ending]) -> Result<Vec<Recorded>, LedgerError> {
        self.report(endings.iter().filter_map(|ending| JobResult::of(ending, &self.service))).await?;
        let (ended, interrupted): (Vec<&Ending>, Vec<&Ending>) =
            endings.iter().partition(|ending| matches!(ending.end, End::Outcome(_)));
        starts::end(&self.pool, self.process.id(), &ended).await.map_err(error)?;
        starts::give_back(&self.pool, self.process.id(), &interrupted).await.map_err(error)?;
        Ok(vec![Recorded::Applied; endings.len()])
    }
}

/// Positions of what is still undecided, by queue and by whether it is alone. None is empty.
fn groups(arrivals: &[Arrival], verdicts: &[Option<Verdict>]) -> Vec<Vec<usize>> {
    let mut groups: std::collections::BTreeMap<(&str, bool), Vec<usize>> = std::collections::BTreeMap::new();
    for (at, arrival) in arrivals.iter().enumerate().filter(|(at, _)| verdicts[*at].is_none()) {
        groups.entry((&arrival.queue, arrival.alone)).or_default().push(at);
    }
    groups.into_values().collect()
}

/// A message that cannot be a job of the hub, whose ids are short and plain.
fn unknowable(arrival: &Arrival) -> Option<Verdict> {
    let id = &arrival.message.id;
    let why = match id {
        id if id.is_empty() => "the message has no id",
        id if id.len() > MAX_ID => "the message's id is too long for a job",
        id if id.contains('\0') => "the message's id contains a NUL",
        // The hub always says. What a stranger put here has no row at the hub: its failure would be reported to nobody.
        _ if arrival.message.run.is_none() => "the message does not say which run of a job it is",
        _ => return None,
    };
    Some(Verdict::Refused(Failure::new("not-a-job", why)))
}

fn poison(starts: i32) -> Failure {
    Failure::new("poison", format!("started {starts} times without an end: the process died each time"))
}

fn error(error: impl std::error::Error + Send + Sync + 'static) -> LedgerError {
    LedgerError(Box::new(error))
}
