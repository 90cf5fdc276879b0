//! The ledger of a subscriber queue. Events have no row: what follows from an end is published, confirmed, and then acked.
//!
//! | end | published |
//! |---|---|
//! | done, interrupted | nothing |
//! | retry | a copy with attempt + 1 to a rung, which brings it back to the queue |
//! | snooze | a copy with the same attempt to a rung |
//! | reject, or no attempt left | a copy to `warren.dead` with reason and error |
//!
//! Guarantee: at least once. A crash between the publish and the ack leaves two copies; the [`inbox`](crate::inbox) tells them
//! apart by the message id, so a message without one becomes a dead letter at once.
//!
//! Limits: delays come from the rungs, 10 minutes at most. A copy keeps body and text headers; foreign headers of other types are
//! not carried on.

use async_trait::async_trait;
use broker_topology::{Names, Rung};
use futures::future::try_join_all;
use sqlx::PgPool;

use crate::handler::{Failure, Outcome};
use crate::inbox::Inbox;
use crate::ledger::{Arrival, End, Ending, JobLedger, LedgerError, Recorded, Verdict};
use crate::message::{Message, Route, Run, header};
use crate::publisher::Publisher;
use crate::retry::{Next, RetryPolicy};
use crate::wire::{Outbound, Unsendable};

/// The longest text in the header that says what went wrong.
const MAX_ERROR: usize = 1024;

/// See the module.
#[derive(Clone, Debug)]
pub struct EventLedger {
    pool: PgPool,
    publisher: Publisher,
    names: Names,
    policy: RetryPolicy,
}

impl EventLedger {
    /// A ledger for any number of subscriber queues whose handlers use the inbox in `pool`'s database.
    pub fn new(pool: PgPool, publisher: Publisher, names: Names, policy: RetryPolicy) -> Self {
        Self { pool, publisher, names, policy }
    }

    /// What follows from an end: where a copy goes, or nothing.
    fn follow(&self, ending: &Ending) -> Option<Follow> {
        let End::Outcome(outcome) = &ending.end else { return None };
        let attempt = ending.run.attempt;
        let (failure, hint) = match outcome {
            Outcome::Done(_) => return None,
            Outcome::Snooze(wait) => return Some(Follow::Rung(rung(*wait), attempt)),
            Outcome::Reject(failure) => return Some(Follow::Dead(failure.clone())),
            Outcome::Retry(failure) => (failure, None),
            Outcome::RetryAfter(wait, failure) => (failure, Some(*wait)),
        };
        // A redriven message goes on counting; each full round is a budget of its own.
        let max = self.policy.max_attempts.max(1);
        let spent = (u32::try_from(attempt).unwrap_or(1).max(1) - 1) % max + 1;
        Some(match self.policy.after(spent, hint, 0.5) {
            Next::Rung(rung) => Follow::Rung(rung, attempt.saturating_add(1)),
            Next::Store(wait) => Follow::Rung(rung(wait), attempt.saturating_add(1)),
            Next::GiveUp => Follow::Dead(failure.clone()),
        })
    }

    async fn publish(&self, ending: &Ending, follow: Follow) -> Result<(), LedgerError> {
        let outbound = self.copy(ending, &follow).map_err(error)?;
        self.publisher.publish(outbound).await.map_err(error)?;
        match follow {
            Follow::Rung(..) => crate::crash_point!("K11"),
            Follow::Dead(_) => crate::crash_point!("K12"),
        }
        Ok(())
    }

    fn copy(&self, ending: &Ending, follow: &Follow) -> Result<Outbound, Unsendable> {
        let queue = ending.queue.to_string();
        let mut message = Message::clone(&ending.message);
        for stale in [header::QUEUE, header::REASON, header::ERROR] {
            message.headers.remove(stale);
        }
        // A copy that came through a rung says where it was published first; otherwise it came as an event, by its name.
        let exchange = first_route(message.headers.get(header::EXCHANGE), &self.names.events());
        let key = first_route(message.headers.get(header::KEY), &message.kind);
        let mut more = vec![(header::EXCHANGE, exchange), (header::KEY, key)];
        let route = match follow {
            Follow::Rung(rung, attempt) => {
                message.run = Some(Run { attempt: *attempt, ..ending.run });
                Route::waiting(&self.names, *rung, queue)
            }
            Follow::Dead(failure) => {
                message.run = Some(ending.run);
                more.extend([
                    (header::QUEUE, queue.clone()),
                    (header::REASON, cut(&failure.code)),
                    (header::ERROR, cut(&failure.message)),
                ]);
                Route::new(self.names.dead(), queue)
            }
        };
        let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Outbound::with_headers(route.clone(), &message, &more).or_else(|_| {
            // Foreign headers may be larger than we send. The body is what must not be lost.
            Outbound::with_headers(route, &slim(message), &more)
        })
    }
}

#[async_trait]
impl JobLedger for EventLedger {
    async fn begin(&self, arrivals: &[Arrival]) -> Result<Vec<Verdict>, LedgerError> {
        let mut verdicts: Vec<Verdict> = arrivals.iter().map(|arrival| unknowable(&arrival.message)).collect();
        let open: Vec<usize> = (0..arrivals.len()).filter(|at| matches!(verdicts[*at], Verdict::Run { .. })).collect();
        let Some(first) = open.first() else { return Ok(verdicts) };
        let runs: Vec<(&str, Run)> = open.iter().map(|at| (arrivals[*at].message.id.as_str(), arrivals[*at].run)).collect();
        for settled in Inbox::settled(&self.pool, &arrivals[*first].queue, &runs).await.map_err(error)? {
            verdicts[open[settled]] = Verdict::Stale;
        }
        Ok(verdicts)
    }

    async fn finish(&self, endings: &[Ending]) -> Result<Vec<Recorded>, LedgerError> {
        let publishes = endings.iter().filter_map(|ending| Some((ending, self.follow(ending)?)));
        try_join_all(publishes.map(|(ending, follow)| self.publish(ending, follow))).await?;
        Ok(vec![Recorded::Applied; endings.len()])
    }
}

#[derive(Debug, PartialEq)]
enum Follow {
    /// To this rung, as this attempt.
    Rung(Rung, i32),
    /// To the dead letters.
    Dead(Failure),
}

fn unknowable(message: &Message) -> Verdict {
    if message.id.is_empty() || message.id.contains('\0') || message.id.len() > 255 {
        let why = "the message has no usable id: it could not be told from a copy of itself";
        return Verdict::Refused(Failure::new("no-id", why));
    }
    Verdict::Run { lease: 0, deadline: None }
}

/// The shortest rung that waits as long, or the longest there is.
fn rung(wait: std::time::Duration) -> Rung {
    Rung::at_least(wait).unwrap_or(Rung::M10)
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_ERROR)].to_owned()
}

/// A part of the route a message came by first. A longer one than AMQP carries is no such part but a stranger's writing, and
/// would keep every copy from being sent, for ever.
fn first_route(written: Option<&String>, otherwise: &str) -> String {
    let written = written.map(String::as_str).filter(|name| name.len() <= 255).unwrap_or(otherwise);
    written[..written.floor_char_boundary(255)].to_owned()
}

fn slim(mut message: Message) -> Message {
    message.headers.clear();
    message.kind.truncate(message.kind.floor_char_boundary(255));
    message.source.truncate(message.source.floor_char_boundary(255));
    message.tenant.truncate(message.tenant.floor_char_boundary(255));
    message.traceparent = None;
    message
}

fn error(error: impl std::error::Error + Send + Sync + 'static) -> LedgerError {
    LedgerError(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::first_route;

    #[test]
    fn a_route_no_broker_could_have_taken_is_not_repeated() {
        let (short, long) = ("warren.events".to_owned(), "x".repeat(20_000));
        assert_eq!(first_route(Some(&short), "kind"), "warren.events");
        assert_eq!(first_route(Some(&long), "kind"), "kind");
        assert_eq!(first_route(None, &long).len(), 255);
    }
}
