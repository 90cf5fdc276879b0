//! Batches as one parameter: rows as JSON, bodies joined into one blob beside it.

use serde::{Serialize, Serializer};

use crate::store::stored::legible;
use crate::store::{Attempt, Status, StoreError};

/// Bytes, for SQLite's `unhex`.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect();
        serializer.serialize_str(&text)
    }
}

/// The text of `rows`, one JSON array each.
pub(super) fn rows(rows: impl Iterator<Item = impl Serialize>) -> Result<String, StoreError> {
    let rows: Vec<_> = rows.collect();
    serde_json::to_string(&rows).map_err(|error| StoreError::Refused(error.to_string()))
}

/// The mutable part as an array, read by [`status_values`].
pub(super) fn status(status: &Status) -> impl Serialize {
    (
        status.state.stored(),
        status.epoch,
        status.attempt,
        status.spent,
        status.starts,
        status.interrupted,
        status.lease,
        status.owner.map(|process| process.0),
        status.due_at,
        status.outlet.map(|outlet| outlet.stored()),
        status.deadline,
        status.started_at,
        status.ended_at,
        status.updated_at,
        status.reason.as_deref().map(legible),
        status.error.as_deref().map(legible),
    )
}

/// Who ran the attempt and what it met: no part of a new job.
pub(super) fn ran(status: &Status) -> impl Serialize {
    (status.worker.as_deref().map(legible), status.http_status)
}

/// Reads what [`status`] wrote as the first element of a row.
macro_rules! status_values {
    () => {
        "value->>'$[0][0]' AS state, value->>'$[0][1]' AS epoch, value->>'$[0][2]' AS attempt, value->>'$[0][3]' AS spent, \
         value->>'$[0][4]' AS starts, value->>'$[0][5]' AS interrupted, value->>'$[0][6]' AS lease, \
         value->>'$[0][7]' AS owner, value->>'$[0][8]' AS due_at, value->>'$[0][9]' AS outlet, \
         value->>'$[0][10]' AS deadline, value->>'$[0][11]' AS started_at, value->>'$[0][12]' AS ended_at, \
         value->>'$[0][13]' AS updated_at, value->>'$[0][14]' AS reason, value->>'$[0][15]' AS error"
    };
}
pub(super) use status_values;

/// An attempt as an array.
pub(super) fn attempt(attempt: &Attempt) -> impl Serialize {
    let text = |text: Option<&str>| text.map(|text| legible(text).into_owned());
    (
        attempt.epoch,
        attempt.attempt,
        attempt.lease,
        attempt.started_at,
        attempt.ended_at,
        legible(&attempt.outcome).into_owned(),
        text(attempt.reason.as_deref()),
        text(attempt.error.as_deref()),
        text(attempt.worker.as_deref()),
        attempt.http_status,
    )
}

/// Bodies, end to end. Never empty, since SQLite takes an empty blob for NULL where parts are cut out of it.
pub(super) struct Bodies(Vec<u8>);

impl Bodies {
    pub(super) fn new() -> Self {
        Self(vec![0])
    }

    /// Adds a body; answers what `substr` finds it by.
    pub(super) fn push(&mut self, body: &[u8]) -> (usize, usize) {
        let at = self.0.len() + 1;
        self.0.extend_from_slice(body);
        (at, body.len())
    }

    pub(super) fn joined(self) -> Vec<u8> {
        self.0
    }
}
