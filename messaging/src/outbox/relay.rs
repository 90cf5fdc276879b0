//! The relay: from committed rows to confirmed messages.

use std::time::Duration;

use futures::future::join_all;
use prometheus::{IntCounter, Registry};
use sqlx::PgPool;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

use super::row::{self, Claimed};
use super::{Outbox, Unrouted};
use crate::connection::Link;
use crate::publisher::{PublishError, Publisher};
use crate::wire::Outbound;

/// Rows that are published together; well under a publisher's window, so that they go out without waiting.
const BATCH: i64 = 256;

/// How often the outbox is looked at when nobody wakes the relay.
const POLL: Duration = Duration::from_millis(500);

/// Counters of the relay.
#[derive(Clone, Debug)]
pub struct RelayMetrics {
    unrouted: IntCounter,
    parked: IntCounter,
}

impl RelayMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When `registry` has one of the names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            unrouted: IntCounter::new("warren_outbox_unrouted_total", "events that no queue took")?,
            parked: IntCounter::new("warren_outbox_parked_total", "rows that can never be sent and were parked")?,
        };
        registry.register(Box::new(metrics.unrouted.clone()))?;
        registry.register(Box::new(metrics.parked.clone()))?;
        Ok(metrics)
    }
}

/// Publishes what the outbox holds. Any number of processes may run one on the same database.
///
/// A batch is locked by its transaction while it is published: a relay that dies lets go of it at once.
pub struct Relay {
    /// The database of the outbox. One connection is held while a batch is published.
    pub pool: PgPool,
    /// Who wakes it.
    pub outbox: Outbox,
    /// The link of `publisher`: nothing is claimed while it is away or blocked.
    pub link: Link,
    /// What publishes.
    pub publisher: Publisher,
    /// What counts.
    pub metrics: RelayMetrics,
}

/// How a pass over the outbox went.
enum Pass {
    /// A full batch: more may wait.
    More,
    /// Nothing more is due.
    Empty,
    /// The channel closed although the connection is up: look at fewer rows.
    Narrow,
    /// The broker or the database is away.
    Away,
}

impl Relay {
    /// Runs until `stop`; a batch in hand is ended first.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = POLL;
        // A row whose exchange is missing closes the channel for all of its batch. Smaller batches find it and let the others by.
        let mut limit = BATCH;
        loop {
            // Asked for before the look, so that a wake-up in between is not lost.
            let woken = self.outbox.wake.notified();
            let pass = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                live = self.link.live() => match live {
                    Ok(_) if self.link.is_usable() => self.pass(limit).await,
                    Ok(_) => Pass::Away,
                    Err(_) => return,
                },
            };
            limit = if matches!(pass, Pass::Narrow) { (limit / 4).max(1) } else { (limit * 2).min(BATCH) };
            pause = match pass {
                Pass::More => continue,
                // The publisher needs a moment for a new channel.
                Pass::Narrow => Duration::from_millis(100),
                Pass::Empty => POLL,
                Pass::Away => (pause * 2).min(Duration::from_secs(5)),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = woken, if pause == POLL => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn pass(&self, limit: i64) -> Pass {
        match self.batch(limit).await {
            Ok(pass) => pass,
            Err(error) => {
                tracing::warn!(error = %error, "cannot use the outbox, trying again");
                Pass::Away
            }
        }
    }

    async fn batch(&self, limit: i64) -> Result<Pass, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        let rows = row::claim(&mut tx, limit).await?;
        if rows.is_empty() {
            return Ok(Pass::Empty);
        }
        crate::crash_point!("K4");
        let full = rows.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let single = rows.len() == 1;
        // Without this tokio would put off all but the first hundred or so, and take those up from the end.
        let ends = unconstrained(join_all(rows.into_iter().map(|row| self.publish(row)))).await;
        crate::crash_point!("K6");
        let mut sorted = Sorted::default();
        for (id, failures, end) in ends {
            match end {
                // Alone, and the connection is up: it is this row that closes the channel.
                End::Closed if single && self.link.is_usable() => sorted.add(id, End::Later(backoff(failures))),
                end => sorted.add(id, end),
            }
        }
        row::delete(&mut tx, &sorted.done).await?;
        row::put_off(&mut tx, &sorted.later).await?;
        row::park(&mut tx, &sorted.never).await?;
        tx.commit().await?;
        self.metrics.unrouted.inc_by(sorted.unrouted);
        self.metrics.parked.inc_by(u64::try_from(sorted.never.len()).unwrap_or(0));
        Ok(match sorted {
            Sorted { away: true, .. } => Pass::Away,
            Sorted { closed: true, .. } if self.link.is_usable() => Pass::Narrow,
            Sorted { closed: true, .. } => Pass::Away,
            _ if full => Pass::More,
            _ => Pass::Empty,
        })
    }

    async fn publish(&self, row: Claimed) -> (i64, i32, End) {
        let outbound = row.message.and_then(|message| Outbound::new(row.route, &message).map_err(|why| why.to_string()));
        let end = match outbound {
            Err(why) => End::Never(why),
            Ok(outbound) => match self.publisher.publish(outbound).await {
                Ok(()) => End::Done,
                Err(PublishError::Returned { .. }) if row.unrouted == Unrouted::IsFine => End::Unrouted,
                Err(PublishError::Unsendable(why)) => End::Never(why.to_string()),
                Err(error @ (PublishError::Returned { .. } | PublishError::Nacked)) => {
                    tracing::warn!(row = row.id, error = %error, failures = row.failures + 1, "an outbox row is put off");
                    End::Later(backoff(row.failures))
                }
                Err(PublishError::Closed(_)) => End::Closed,
                Err(PublishError::TimedOut(_)) => End::Away,
            },
        };
        (row.id, row.failures, end)
    }
}

/// What became of a row.
enum End {
    Done,
    Unrouted,
    Later(Duration),
    Never(String),
    /// The channel closed: this row is to blame, or another of its batch, or none. It stays as it is.
    Closed,
    /// The broker is away; the row is not to blame and stays as it is.
    Away,
}

#[derive(Default)]
struct Sorted {
    done: Vec<i64>,
    later: Vec<(i64, Duration)>,
    never: Vec<(i64, String)>,
    unrouted: u64,
    closed: bool,
    away: bool,
}

impl Sorted {
    fn add(&mut self, id: i64, end: End) {
        match end {
            End::Done => self.done.push(id),
            End::Unrouted => {
                self.unrouted += 1;
                self.done.push(id);
            }
            End::Later(wait) => self.later.push((id, wait)),
            End::Never(why) => {
                tracing::error!(row = id, why, "an outbox row can never be sent and is parked: see warren_outbox.parked");
                self.never.push((id, why));
            }
            End::Closed => self.closed = true,
            End::Away => self.away = true,
        }
    }
}

/// 1 s, 2 s, 4 s ... 5 min.
fn backoff(failures: i32) -> Duration {
    Duration::from_secs((1_u64 << failures.clamp(0, 9)).min(300))
}
