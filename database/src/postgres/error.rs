//! What Postgres says, in a store's words.

use crate::{StoreError, damaged};

/// What went wrong inside a statement; may be worth another try.
#[derive(Debug)]
pub enum Fault {
    /// The database or the way to it.
    Sql(sqlx::Error),
    /// Already in a store's words.
    Store(StoreError),
}

impl Fault {
    /// Another transaction was in the way; nothing was done.
    pub fn is_conflict(&self) -> bool {
        let Self::Sql(sqlx::Error::Database(error)) = self else { return false };
        matches!(error.code().as_deref(), Some("40001" | "40P01"))
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => store(error),
            Fault::Store(error) => error,
        }
    }
}

/// The server took too long.
pub fn silent() -> StoreError {
    StoreError::Unavailable(format!("Postgres is silent for {} s", super::ANSWER.as_secs()))
}

/// By the class of the SQLSTATE, that is its first two characters.
pub fn store(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
    let text = error.to_string();
    match (error, code.as_deref()) {
        (_, Some("55P03")) => StoreError::Undecided(text),
        (_, Some(code)) => match code.get(..2) {
            Some("22" | "23" | "54") => StoreError::Refused(text),
            Some("28" | "3D" | "42") => StoreError::Unusable(format!("Postgres turns Warren away ({code}): {text}")),
            _ => StoreError::Unavailable(format!("{text} ({code})")),
        },
        (sqlx::Error::Encode(_), _) => StoreError::Refused(text),
        (sqlx::Error::Configuration(_), _) => StoreError::Unusable(text),
        (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), _) => damaged(text),
        _ => StoreError::Unavailable(text),
    }
}
