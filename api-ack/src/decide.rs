//! Load, decide, apply: the one way a batch of rows is changed.
//!
//! The decision is pure ([`rules`](crate::rules)); the store applies it only to a row that is still what was decided on. A row
//! that moved on meanwhile is loaded and decided on again.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::store::{Change, Job, JobStore, Status, StoreError};

/// What to do about one item. Lives for a moment, on the stack.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Decision<T> {
    /// Nothing to store.
    Settled(T),
    /// True once this is stored.
    Apply(Change, T),
}

/// More rounds than this without a single answer mean that somebody changes the same rows without end.
const FRUITLESS: usize = 8;

/// Decides on every item, in order, at most 512 of them. Items of one job are decided one after the other.
///
/// `known` spares a load for rows the caller has seen; a wrong one costs a round, never a wrong change.
pub(crate) async fn decide<I, T>(
    store: &dyn JobStore,
    items: &[I],
    known: HashMap<Uuid, Job>,
    id_of: impl Fn(&I) -> Uuid,
    rule: impl Fn(&I, Option<&Job>) -> Decision<T>,
) -> Result<Vec<T>, StoreError> {
    let mut answers: Vec<Option<T>> = items.iter().map(|_| None).collect();
    let mut pending: Vec<usize> = (0..items.len()).collect();
    let mut rows = known;
    let mut fruitless = 0;
    while fruitless < FRUITLESS {
        let missing: HashSet<Uuid> = pending.iter().map(|at| id_of(&items[*at])).filter(|id| !rows.contains_key(id)).collect();
        if !missing.is_empty() {
            let missing: Vec<Uuid> = missing.into_iter().collect();
            rows.extend(store.load(&missing).await?.into_iter().map(|job| (job.id, job)));
        }
        let mut seen = HashSet::new();
        let mut later = Vec::new();
        let before = pending.len();
        let (mut changes, mut changing) = (Vec::new(), Vec::new());
        for at in pending {
            let id = id_of(&items[at]);
            if !seen.insert(id) {
                later.push(at);
                continue;
            }
            match rule(&items[at], rows.get(&id)) {
                Decision::Settled(answer) => answers[at] = Some(answer),
                Decision::Apply(change, answer) => {
                    changes.push(change);
                    changing.push((at, answer));
                }
            }
        }
        if !changes.is_empty() {
            let applied = store.apply(&changes).await?;
            for ((at, answer), applied) in changing.into_iter().zip(applied) {
                if applied {
                    answers[at] = Some(answer);
                } else {
                    later.push(at);
                }
            }
        }
        if later.is_empty() {
            return Ok(answers.into_iter().flatten().collect());
        }
        fruitless = if later.len() < before { 0 } else { fruitless + 1 };
        later.sort_unstable();
        rows = HashMap::new();
        pending = later;
    }
    Err(StoreError::Unavailable("the same jobs are being changed by others all the time".to_owned()))
}

/// A change of `job` to `to`.
pub(crate) fn change(job: &Job, to: Status) -> Change {
    Change { id: job.id, from: job.version, to, history: None, result: None }
}

/// `job` once `change` is applied.
pub(crate) fn after(job: &Job, change: &Change) -> Job {
    Job { version: change.from + 1, status: change.to.clone(), ..job.clone() }
}
