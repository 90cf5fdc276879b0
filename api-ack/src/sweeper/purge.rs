//! Retention: what is old goes, in small batches, each kind's ended jobs by the kind's own age.
//!
//! Ended jobs are walked kind by kind in the order in which they ended, and each walk remembers where it was: a pass costs what
//! it deletes. What has to stay when the walk comes by (a dead job whose letter may be there still) is left behind, and met again
//! when the walk begins anew, once an hour. Keys are walked in the order in which they lie, once in ten minutes at most.
//!
//! No step waits for another to succeed: what is wrong with one is told, and the others go on.
//! Limits: where a walk was is not stored; a process that begins to lead begins all walks anew.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{BATCH, Retention, micros};
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::selections;
use crate::store::{Bookmark, Micros, Old, StoreError, Stores};
use database::clock;

/// How often what was left behind is met again.
const LAP: Duration = Duration::from_secs(3600);

/// How often the walk over the keys begins anew.
const KEYS_LAP: Duration = Duration::from_secs(600);

/// What is purged, and by which ages.
pub(super) struct Scope<'a> {
    pub(super) stores: &'a Stores,
    pub(super) kinds: &'a Kinds,
    pub(super) retention: &'a Retention,
    pub(super) metrics: &'a Metrics,
}

impl Scope<'_> {
    fn purged(&self, gone: u64) {
        self.metrics.swept.with_label_values(&["purged"]).inc_by(gone);
    }
}

/// The walks over the ended jobs of each kind, and over the keys.
#[derive(Default)]
pub(super) struct Purge {
    walks: HashMap<String, Walk>,
    keys: Keys,
    /// Kinds take turns, so that one with much to delete does not shut out another when the time is up.
    turn: usize,
}

struct Walk {
    at: Bookmark,
    begun: Instant,
    /// Jobs in a step: fewer after one that failed, for instance since it took too long.
    batch: u32,
}

impl Walk {
    fn begin() -> Self {
        Self { at: Bookmark::START, begun: Instant::now(), batch: BATCH }
    }
}

#[derive(Default)]
struct Keys {
    at: u64,
    /// Since when it rests, being at its end; `None` while it goes on.
    rests_since: Option<Instant>,
}

impl Purge {
    /// Deletes until nothing is old or `until` has come; `true` if there is more.
    pub(super) async fn run(&mut self, scope: &Scope<'_>, until: Instant) -> Result<bool, StoreError> {
        let mut more = true;
        while more && Instant::now() < until {
            let keys = self.keys.step(scope).await;
            let others = others(scope).await;
            more = self.walk(scope, until).await? | others? | keys?;
        }
        Ok(more)
    }

    /// One batch of each kind, as far as time lets it, and at least one; `true` if there may be more.
    async fn walk(&mut self, scope: &Scope<'_>, until: Instant) -> Result<bool, StoreError> {
        let names = scope.stores.jobs.ended_kinds().await?;
        self.walks.retain(|kind, _| names.contains(kind));
        let (mut more, first) = (false, self.turn);
        for at in 0..names.len() {
            // Also when this one's step fails.
            self.turn = (first + at + 1) % names.len();
            let kind = &names[(first + at) % names.len()];
            match self.step(scope, kind).await {
                Ok(more_of_it) => more |= more_of_it,
                Err(error) => tracing::warn!(kind, error = %error, "cannot delete ended jobs of a kind"),
            }
            if Instant::now() >= until {
                return Ok(more || at + 1 < names.len());
            }
        }
        Ok(more)
    }

    /// One batch of one kind; `true` if there may be more.
    async fn step(&mut self, scope: &Scope<'_>, kind: &str) -> Result<bool, StoreError> {
        let own = scope.kinds.get(kind).and_then(|spec| spec.retention);
        let (before, dead_before) = horizons(scope.retention, own, clock::now());
        let walk = match self.walks.get_mut(kind) {
            Some(walk) => walk,
            None => self.walks.entry(kind.to_owned()).or_insert_with(Walk::begin),
        };
        let purged = scope.stores.jobs.purge_ended(&Old { kind, before, dead_before }, walk.at, walk.batch).await;
        let purged = purged.inspect_err(|_| walk.batch = (walk.batch / 2).max(1))?;
        (walk.at, walk.batch) = (purged.next, (walk.batch * 2).min(BATCH));
        if !purged.more && walk.begun.elapsed() >= LAP {
            *walk = Walk::begin();
        }
        scope.purged(purged.gone);
        Ok(purged.more)
    }
}

impl Keys {
    /// Looks at some keys; `true` if there are more to look at.
    async fn step(&mut self, scope: &Scope<'_>) -> Result<bool, StoreError> {
        if self.rests_since.is_some_and(|since| since.elapsed() < KEYS_LAP) {
            return Ok(false);
        }
        self.rests_since = None;
        let before = clock::now().saturating_sub(micros(scope.retention.keys));
        let purged = scope.stores.jobs.purge_keys(before, self.at).await?;
        self.at = purged.next;
        if self.at == 0 {
            self.rests_since = Some(Instant::now());
        }
        scope.purged(purged.gone);
        Ok(self.at > 0)
    }
}

/// Before when a job must have ended to go, and before when a dead one: as long as letters are kept, since its own may be found
/// late, and without its job it could not be redriven.
fn horizons(retention: &Retention, own: Option<Duration>, now: Micros) -> (Micros, Micros) {
    let own = own.unwrap_or(retention.jobs);
    (now.saturating_sub(micros(own)), now.saturating_sub(micros(own.max(retention.dead_letters))))
}

/// One batch of all that has one age whatever its kind.
async fn others(scope: &Scope<'_>) -> Result<bool, StoreError> {
    let (stores, now) = (scope.stores, clock::now());
    let dead = stores.dead.purge_dead(now.saturating_sub(micros(scope.retention.dead_letters)), BATCH).await;
    let picked = stores.selections.purge_selections(now, now.saturating_sub(micros(selections::KEPT)), BATCH).await;
    let dead = dead?;
    scope.purged(dead);
    Ok(dead.max(picked?) >= u64::from(BATCH))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prometheus::Registry;
    use uuid::Uuid;

    use super::*;
    use crate::kinds::{KindSpec, Worker};
    use database::Database;

    use crate::store::{Job, NewJob, Payload, Priority, STEPS, State, Status};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A job of this kind that ended so long ago.
    fn ended(kind: &str, ago: Duration) -> NewJob {
        let at = clock::now() - micros(ago);
        let status =
            Status { state: State::Succeeded, outlet: None, ended_at: Some(at), ..Status::accepted(at, at + micros(HOUR)) };
        NewJob {
            job: Job {
                id: Uuid::now_v7(),
                kind: kind.to_owned(),
                tenant: "acme".to_owned(),
                priority: Priority::Normal,
                version: 1,
                status,
            },
            payload: Payload {
                subject: "ann".to_owned(),
                content_type: "text/plain".to_owned(),
                body: Bytes::new(),
                traceparent: None,
            },
            key: None,
            tags: Default::default(),
            callback: None,
        }
    }

    fn kept(kind: &str, retention: Duration) -> KindSpec {
        let kind = broker_topology::Kind::parse(kind).unwrap();
        KindSpec { retention: Some(retention), ..KindSpec::new(kind, Worker::Amqp) }
    }

    #[tokio::test]
    async fn each_kind_goes_by_its_own_age_and_by_another_one_after_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::on(
            &Database::open(&format!("sqlite://{}", folder.path().join("warren.db").display()), &[STEPS], true).await.unwrap(),
        )
        .await
        .unwrap();
        let mut all: Vec<NewJob> = (0..600).map(|_| ended("logs", 2 * HOUR)).collect();
        all.extend([ended("mail", 2 * HOUR), ended("books", 40 * HOUR), ended("unknown", 40 * HOUR)]);
        stores.jobs.insert(&all).await.unwrap();
        let kinds = Kinds::new([kept("logs", HOUR), kept("mail", 3 * HOUR), kept("books", 50 * HOUR)]);
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let retention = Retention { jobs: 24 * HOUR, ..Retention::default() };
        let scope = Scope { stores: &stores, kinds: &kinds, retention: &retention, metrics: &metrics };
        let mut purge = Purge::default();
        let soon = Instant::now() + Duration::from_secs(60);
        assert!(!purge.run(&scope, soon).await.unwrap());
        assert_eq!(stores.jobs.ended_kinds().await.unwrap(), ["books", "mail"], "more than a batch, and one of no kind");
        kinds.replace([kept("mail", HOUR)]);
        assert!(!purge.run(&scope, soon).await.unwrap());
        assert!(stores.jobs.ended_kinds().await.unwrap().is_empty());
        assert_eq!(metrics.swept.with_label_values(&["purged"]).get(), 603);
    }

    #[tokio::test]
    async fn when_the_time_is_up_the_next_kind_has_the_next_turn() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::on(
            &Database::open(&format!("sqlite://{}", folder.path().join("warren.db").display()), &[STEPS], true).await.unwrap(),
        )
        .await
        .unwrap();
        let all: Vec<NewJob> = (0..600).map(|_| ended("a", 2 * HOUR)).chain([ended("b", 2 * HOUR)]).collect();
        stores.jobs.insert(&all).await.unwrap();
        let kinds = Kinds::new([kept("a", HOUR), kept("b", HOUR)]);
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let (mut purge, retention) = (Purge::default(), Retention::default());
        let scope = Scope { stores: &stores, kinds: &kinds, retention: &retention, metrics: &metrics };
        // Time for one batch at a time.
        let mut left = Vec::new();
        for _ in 0..2 {
            let blink = Instant::now() + Duration::from_micros(1);
            purge.walk(&scope, blink).await.unwrap();
            left.push(stores.jobs.ended_kinds().await.unwrap().join(" "));
        }
        assert_eq!(left, ["a b", "a"]);
    }

    #[test]
    fn a_dead_job_stays_as_long_as_a_letter_may() {
        let (hour, day) = (HOUR, 24 * HOUR);
        let ago = |span: Duration| -micros(span);
        let retention = Retention { jobs: hour, dead_letters: day, ..Retention::default() };
        assert_eq!(horizons(&retention, None, 0), (ago(hour), ago(day)));
        assert_eq!(horizons(&retention, Some(2 * hour), 0), (ago(2 * hour), ago(day)));
        assert_eq!(horizons(&retention, Some(2 * day), 0), (ago(2 * day), ago(2 * day)));
    }
}
