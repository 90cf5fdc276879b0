//! What a look at the database from outside tells.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::StoreError;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Settings of the Postgres server that durability rests on, such as `fsync`: `on`, `off`; none on SQLite.
    pub settings: BTreeMap<String, String>,
    /// Its schema.
    pub schema: Standing,
    /// The file, on SQLite.
    pub path: Option<PathBuf>,
}

/// Whether this binary runs on the schema that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Current,
    /// A step is missing; the sentence names it and the remedy.
    Behind(String),
    /// There is nothing yet: the first `serve` or `migrate` makes it.
    Missing,
}

/// What a check of the schema means; a database that did not answer is still an error.
pub(crate) fn standing_of(checked: Result<(), StoreError>) -> Result<Standing, StoreError> {
    match checked {
        Ok(()) => Ok(Standing::Current),
        Err(StoreError::Unusable(sentence)) => Ok(Standing::Behind(sentence)),
        Err(error) => Err(error),
    }
}
