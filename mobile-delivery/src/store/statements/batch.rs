//! A batch as one parameter: JSON, one array for each row.

use serde::Serialize;

use super::Fault;
use crate::store::StoreError;

/// The text of `rows`.
pub(super) fn batch<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<String, Fault> {
    let rows: Vec<T> = rows.into_iter().collect();
    serde_json::to_string(&rows).map_err(|error| StoreError::Refused(error.to_string()).into())
}

/// Bytes as the database reads them from a text.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// A count that the database holds as `bigint`.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
