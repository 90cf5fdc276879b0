//! What retention asks of the store.

use uuid::Uuid;

use super::Micros;

/// Ended jobs of one kind that are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old<'a> {
    /// The kind.
    pub kind: &'a str,
    /// Those that ended before this time.
    pub before: Micros,
    /// Dead ones only if they ended before this time too: their letter may still be on its way into the store, and without
    /// its job it could not be redriven.
    pub dead_before: Micros,
}

/// How far a walk over the ended jobs of a kind has come, in the order in which they ended. What stays behind is met again by the
/// next walk, not by every step of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// When the last job that was looked at had ended.
    pub ended_at: Micros,
    /// Its id.
    pub id: Uuid,
}

impl Bookmark {
    /// Before all.
    pub const START: Self = Self { ended_at: Micros::MIN, id: Uuid::nil() };
}

/// What a step of a walk over the idempotency keys did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgedKeys {
    /// How many it deleted.
    pub gone: u64,
    /// Where the next step begins; 0 when the walk is at its end.
    pub next: u64,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// Jobs that are gone.
    pub gone: u64,
    /// Where to go on.
    pub next: Bookmark,
    /// Whether there may be more that is old at this time.
    pub more: bool,
}
