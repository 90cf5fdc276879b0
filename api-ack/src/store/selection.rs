//! Selections: a set of dead letters frozen before anything is done to it, and how far what is done has come.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Micros, StoreError};

/// What is done to every letter of a selection. Stored as the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i16)]
pub enum Action {
    /// Back to its queue.
    Redrive = 0,
    /// Given up for good.
    Discard = 1,
}

/// A frozen set of dead letters.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// UUIDv7.
    pub id: Uuid,
    /// Whose letters it may hold; `None` for all tenants.
    pub tenant: Option<String>,
    /// What was asked for, as JSON, for people.
    pub filter: serde_json::Value,
    /// Who froze it.
    pub created_by: String,
    /// When.
    pub created_at: Micros,
    /// When it goes, unless something is done to it before.
    pub expires_at: Micros,
    /// What is done to it, once it was asked for.
    pub acting: Option<Acting>,
    /// When the last letter had its turn.
    pub finished_at: Option<Micros>,
}

/// What is done to a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acting {
    /// What.
    pub action: Action,
    /// Also letters older than what consumers remember.
    pub force: bool,
    /// Letters per second, at most.
    pub rate: u32,
    /// Who.
    pub actor: String,
    /// Why.
    pub note: String,
    /// Since when.
    pub at: Micros,
}

/// A letter's place in a selection; from 1, the oldest letter first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The selection.
    pub selection: Uuid,
    /// The place.
    pub number: i32,
}

/// A letter that was not moved, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its place.
    pub number: i32,
    /// The letter.
    pub letter: Uuid,
    /// For people.
    pub why: String,
}

/// How far a selection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Wait for their turn.
    pub waiting: u64,
    /// Moved.
    pub moved: u64,
    /// Not moved, for a reason each.
    pub refused: u64,
}

/// The selections.
#[async_trait]
pub trait SelectionStore: Send + Sync + 'static {
    /// Stores a selection of `letters`, given oldest first. At most 100,000.
    ///
    /// # Errors
    /// As [`StoreError`]; then nothing was stored.
    async fn freeze(&self, selection: &Selection, letters: &[Uuid]) -> Result<(), StoreError>;

    /// A selection, and how far it has come.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn selection(&self, id: Uuid) -> Result<Option<(Selection, Tally)>, StoreError>;

    /// Says what is to be done to a selection. `false`, and nothing changes, when that was said before, when it has expired by
    /// then, or when there is none.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn act(&self, id: Uuid, acting: &Acting) -> Result<bool, StoreError>;

    /// Selections to which something is being done, by id, from the one after `after` on.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn acting(&self, after: Uuid, limit: u32) -> Result<Vec<Selection>, StoreError>;

    /// Letters that wait for their turn, in order.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn picked(&self, selection: Uuid, limit: u32) -> Result<Vec<(Picked, Uuid)>, StoreError>;

    /// Puts on record that a letter was not moved. One that had its turn is left as it is.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn refuse(&self, picked: Picked, why: &str) -> Result<(), StoreError>;

    /// Letters that were not moved, from the place after `after`.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn refusals(&self, selection: Uuid, after: i32, limit: u32) -> Result<Vec<Refusal>, StoreError>;

    /// Says that all letters had their turn. `false` when some wait still, or it was said before.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn finish(&self, selection: Uuid, now: Micros) -> Result<bool, StoreError>;

    /// Deletes selections that expired before `expired_before` with nothing done to them or were finished before
    /// `finished_before`: up to `limit` of their letters, and those that have none left. Answers how many rows went.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn purge_selections(&self, expired_before: Micros, finished_before: Micros, limit: u32) -> Result<u64, StoreError>;
}
