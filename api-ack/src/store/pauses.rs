//! Paused kinds: the port, written by each database.

use async_trait::async_trait;

use super::{Micros, StoreError};

/// How a kind stands since somebody paused or resumed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The kind.
    pub kind: String,
    /// Since when.
    pub at: Micros,
    /// Whether it is paused; otherwise it was resumed.
    pub paused: bool,
    /// Who did that.
    pub actor: String,
    /// Why; may be empty.
    pub note: String,
}

/// Which kinds are paused.
#[async_trait]
pub trait PauseStore: Send + Sync + 'static {
    /// Puts a pause or its end on record, unless the kind stands like that already. Answers how it stands then.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn put_pause(&self, pause: &Pause) -> Result<Pause, StoreError>;

    /// The latest of every kind that was ever paused.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn pauses(&self) -> Result<Vec<Pause>, StoreError>;
}
