//! What SQLite says, in a store's words.

use crate::{StoreError, damaged};

/// By the primary result code, the low byte of the extended one.
pub fn store(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    let text = error.to_string();
    match (error, code.map(|code| code & 0xff)) {
        // TOOBIG, CONSTRAINT, MISMATCH.
        (_, Some(18..=20)) | (sqlx::Error::Encode(_), _) => StoreError::Refused(text),
        // CORRUPT, NOTADB.
        (_, Some(11 | 26)) => StoreError::Unusable(format!("the database file is damaged or not one of SQLite: {text}")),
        (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), _) => damaged(text),
        // BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN and whatever else; the pool; the thread behind a connection.
        _ => StoreError::Unavailable(text),
    }
}
