//! Retention: what is old goes, in small batches, each kind's ended jobs by the kind's own age.
//!
//! Ended jobs are walked kind by kind in the order in which they ended, and each walk remembers where it was: a pass costs what
//! it deletes. What has to stay when the walk comes by (a dead job with an open letter, a dead one that is younger than
//! [`Retention::jobs`]) is left behind, and met again when the walk begins anew, once an hour.
//! Limits: where a walk was is not stored; a process that begins to lead begins all walks anew.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{BATCH, Retention, micros};
use crate::clock;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::selections;
use crate::store::{Bookmark, Micros, Old, StoreError, Stores};

/// How often what was left behind is met again.
const LAP: Duration = Duration::from_secs(3600);

/// The walks over the ended jobs of each kind.
#[derive(Default)]
pub(super) struct Purge {
    walks: HashMap<String, Walk>,
    /// Kinds take turns, so that one with much to delete does not shut out another when the time is up.
    turn: usize,
}

struct Walk {
    at: Bookmark,
    begun: Instant,
}

impl Purge {
    /// Deletes until nothing is old or `until` has come; `true` if there is more.
    pub(super) async fn run(
        &mut self,
        stores: &Stores,
        kinds: &Kinds,
        retention: &Retention,
        metrics: &Metrics,
        until: Instant,
    ) -> Result<bool, StoreError> {
        let names = stores.jobs.ended_kinds().await?;
        self.walks.retain(|kind, _| names.contains(kind));
        let mut more = true;
        while more && Instant::now() < until {
            more = false;
            for at in 0..names.len() {
                let kind = &names[(self.turn + at) % names.len()];
                more |= self.step(stores, kinds, retention, metrics, kind).await?;
                if Instant::now() >= until && at + 1 < names.len() {
                    self.turn = (self.turn + at + 1) % names.len();
                    return Ok(true);
                }
            }
            more |= others(stores, retention, metrics).await?;
        }
        Ok(more)
    }

    /// One batch of one kind; `true` if there may be more.
    async fn step(
        &mut self,
        stores: &Stores,
        kinds: &Kinds,
        retention: &Retention,
        metrics: &Metrics,
        kind: &str,
    ) -> Result<bool, StoreError> {
        let own = kinds.get(kind).and_then(|spec| spec.retention);
        let (before, dead_before) = horizons(retention.jobs, own, clock::now());
        let walk = match self.walks.get_mut(kind) {
            Some(walk) => walk,
            None => self.walks.entry(kind.to_owned()).or_insert(Walk { at: Bookmark::START, begun: Instant::now() }),
        };
        let purged = stores.jobs.purge_ended(&Old { kind, before, dead_before }, walk.at, BATCH).await?;
        walk.at = purged.next;
        if !purged.more && walk.begun.elapsed() >= LAP {
            *walk = Walk { at: Bookmark::START, begun: Instant::now() };
        }
        metrics.swept.with_label_values(&["purged"]).inc_by(purged.gone);
        Ok(purged.more)
    }
}

/// Before when a job must have ended to go, and before when a dead one: not by a shorter age than all others, since its letter
/// may still be on its way into the store.
fn horizons(all: Duration, own: Option<Duration>, now: Micros) -> (Micros, Micros) {
    let own = own.unwrap_or(all);
    (now.saturating_sub(micros(own)), now.saturating_sub(micros(own.max(all))))
}

/// One batch of all that has one age whatever its kind.
async fn others(stores: &Stores, retention: &Retention, metrics: &Metrics) -> Result<bool, StoreError> {
    let now = clock::now();
    let keys = stores.jobs.purge_keys(now.saturating_sub(micros(retention.keys)), BATCH).await?;
    let dead = stores.dead.purge_dead(now.saturating_sub(micros(retention.dead_letters)), BATCH).await?;
    let picked = stores.selections.purge_selections(now, now.saturating_sub(micros(selections::KEPT)), BATCH).await?;
    metrics.swept.with_label_values(&["purged"]).inc_by(keys + dead);
    Ok(keys.max(dead).max(picked) >= u64::from(BATCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_job_stays_as_long_as_any_other() {
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        let ago = |span: Duration| -micros(span);
        assert_eq!(horizons(day, None, 0), (ago(day), ago(day)));
        assert_eq!(horizons(day, Some(hour), 0), (ago(hour), ago(day)));
        assert_eq!(horizons(hour, Some(day), 0), (ago(day), ago(day)));
    }
}
