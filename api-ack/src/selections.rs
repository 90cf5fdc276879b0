//! Selections: what is done to many dead letters at once, from a set frozen before.
//!
//! Freezing looks for the open letters that match and stores their ids: what arrives later is not among them, and the count is
//! known before anything is done. Then one process at a time, the one that leads, gives each letter its turn, oldest first and
//! at most so many per second; a letter's turn is one transaction with its place in the selection. So a process that dies in
//! the middle leaves exactly what it did on record, whoever leads next goes on there, and two that lead for a moment move
//! nothing twice. A letter that cannot be moved keeps the reason, and the others go on.
//!
//! Limits: [`MOST`] letters in a selection, [`LIFE`] until something is done to it. What is finished is kept for [`KEPT`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dead::{DeadError, DeadLetters, Order};
use crate::processes::Processes;
use crate::store::{Acting, DeadFilter, DeadState, Micros, Picked, Selection, StoreError, Stores, Tally};
use database::clock;

/// The most letters in one selection.
pub const MOST: usize = 100_000;

/// How long a selection waits for something to be done to it.
pub const LIFE: Duration = Duration::from_secs(3600);

/// How long a finished selection is kept.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Letters per second, unless asked otherwise.
pub const RATE: u32 = 100;

/// Letters per second, at most.
pub const RATE_MAX: u32 = 1000;

/// Letters a search looks at with one statement.
pub const LOOK: u32 = 20_000;

/// Letters a freeze looks at, at most: some seconds.
const LOOKED_AT: u32 = 5_000_000;

/// Selections that go on side by side.
const AT_ONCE: u32 = 16;

/// What a freeze found.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// The selection.
    pub selection: Selection,
    /// How many letters are in it.
    pub count: usize,
    /// There are more that match: the newest are in it.
    pub capped: bool,
    /// The newest few.
    pub sample: Vec<Uuid>,
}

/// Freezes selections, and carries out what is asked of them.
pub struct Selections {
    stores: Stores,
    dead: DeadLetters,
    processes: Arc<Processes>,
}

impl Selections {
    /// Over `stores`; letters are moved by `dead`.
    pub fn new(stores: Stores, dead: DeadLetters, processes: Arc<Processes>) -> Self {
        Self { stores, dead, processes }
    }

    /// What moves a letter by itself.
    pub fn dead(&self) -> &DeadLetters {
        &self.dead
    }

    /// Freezes the open letters that match `filter`. `shown` is what was asked for, kept for people.
    ///
    /// # Errors
    /// As [`StoreError`]; then there is no selection.
    pub async fn freeze(&self, filter: DeadFilter, shown: serde_json::Value, actor: &str) -> Result<Frozen, StoreError> {
        let tenant = filter.tenant.clone();
        let (mut letters, capped) = self.matching(DeadFilter { state: Some(DeadState::Open), ..filter }).await?;
        let sample = letters.iter().take(5).copied().collect();
        // The oldest first: it waited longest.
        letters.reverse();
        let now = clock::now();
        let selection = Selection {
            id: Uuid::now_v7(),
            tenant,
            filter: shown,
            created_by: actor.to_owned(),
            created_at: now,
            expires_at: now.saturating_add(micros(LIFE)),
            acting: None,
            finished_at: None,
        };
        self.stores.selections.freeze(&selection, &letters).await?;
        Ok(Frozen { selection, count: letters.len(), capped, sample })
    }

    /// Ids that match, newest first, and whether there may be more.
    async fn matching(&self, mut filter: DeadFilter) -> Result<(Vec<Uuid>, bool), StoreError> {
        let mut found: Vec<Uuid> = Vec::new();
        for _ in 0..LOOKED_AT / LOOK {
            filter.limit = u32::try_from(MOST + 1 - found.len()).unwrap_or(u32::MAX);
            let (ids, below) = window(&self.stores, &filter, LOOK).await?;
            found.extend(ids);
            if found.len() > MOST {
                found.truncate(MOST);
                return Ok((found, true));
            }
            let Some(below) = below else { return Ok((found, false)) };
            filter.before = Some(below);
        }
        Ok((found, true))
    }

    /// A selection that is there and has not expired.
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<(Selection, Tally)>, StoreError> {
        let found = self.stores.selections.selection(id).await?;
        let now = clock::now();
        Ok(found.filter(|(selection, _)| selection.acting.is_some() || selection.expires_at > now))
    }

    /// Asks for something to be done to a selection. Answers the selection as it is then: when something was asked for before,
    /// that goes on and this changes nothing.
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn act(&self, id: Uuid, acting: &Acting) -> Result<Option<(Selection, Tally)>, StoreError> {
        self.stores.selections.act(id, acting).await?;
        self.get(id).await
    }

    /// Carries out what is asked, while this process leads, until `drain`.
    pub async fn run(self: Arc<Self>, drain: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Uuid::nil();
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                _ = tick.tick() => {}
            }
            if !self.processes.leads() {
                continue;
            }
            match self.pass(last, &drain).await {
                Ok(next) => last = next,
                Err(error) => tracing::warn!(error = %error, "what is asked of selections of dead letters goes on later"),
            }
        }
    }

    /// A second's worth of each selection to which something is being done, from the one after `last` on; answers the last of
    /// these. So many have their turn at once, and the next ones theirs a second later, however long any of them takes.
    async fn pass(&self, last: Uuid, drain: &CancellationToken) -> Result<Uuid, StoreError> {
        let round = self.stores.selections.acting(last, AT_ONCE).await?;
        let next = if round.len() < AT_ONCE as usize { Uuid::nil() } else { round.last().map_or(Uuid::nil(), |one| one.id) };
        for selection in round {
            let Some(acting) = &selection.acting else { continue };
            if let Err(error) = self.second(&selection, acting, drain).await {
                tracing::warn!(selection = %selection.id, error = %error, "what is asked of a selection goes on later");
            }
        }
        Ok(next)
    }

    /// What of one selection has its turn in a second.
    async fn second(&self, selection: &Selection, acting: &Acting, drain: &CancellationToken) -> Result<(), StoreError> {
        let rate = acting.rate.clamp(1, RATE_MAX);
        let picked = self.stores.selections.picked(selection.id, rate).await?;
        let last = picked.len() < rate as usize;
        for (place, letter) in picked {
            if drain.is_cancelled() {
                return Ok(());
            }
            self.turn(acting, place, letter).await?;
        }
        if last && self.stores.selections.finish(selection.id, clock::now()).await? {
            tracing::info!(selection = %selection.id, actor = acting.actor, "every letter of the selection had its turn");
        }
        Ok(())
    }

    /// A letter's turn. What is refused is on record and does not stop the others.
    async fn turn(&self, acting: &Acting, place: Picked, letter: Uuid) -> Result<(), StoreError> {
        let Acting { action, force, actor, note, .. } = acting;
        let order = Order { action: *action, force: *force, actor, note };
        match self.dead.carry_out(letter, &order, Some(place)).await {
            Ok(()) => Ok(()),
            Err(DeadError::Store(error)) if !matches!(error, StoreError::Refused(_)) => Err(error),
            // A letter that another process moved for this very place is not refused: its place says so.
            Err(why) => self.stores.selections.refuse(place, &why.to_string()).await,
        }
    }
}

/// One window of a search: ids that match, newest first, among the `look` letters before `filter.before`, and where the next
/// window begins; `None` after the last one, and the last id found when there are as many as `filter.limit`.
///
/// # Errors
/// As [`StoreError`].
pub async fn window(stores: &Stores, filter: &DeadFilter, look: u32) -> Result<(Vec<Uuid>, Option<Uuid>), StoreError> {
    let floor = stores.dead.dead_floor(filter.below(), look).await?;
    let ids = stores.dead.dead_ids(&DeadFilter { from: floor, ..filter.clone() }).await?;
    let next = if ids.len() >= filter.limit as usize { ids.last().copied() } else { floor };
    // Nothing older can match.
    let next = next.filter(|next| *next > filter.above());
    Ok((ids, next))
}

fn micros(span: Duration) -> Micros {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4)
}
