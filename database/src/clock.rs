//! Wall-clock time as a database keeps it.

use jiff::Timestamp;

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;

/// Now.
pub fn now() -> Micros {
    Timestamp::now().as_microsecond()
}

/// As a timestamp; a time outside what jiff can show becomes its nearest bound.
pub fn timestamp(at: Micros) -> Timestamp {
    Timestamp::from_microsecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// When a UUIDv7 was made, or `None` for any other UUID.
pub fn made_at(id: uuid::Uuid) -> Option<Micros> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Some(i64::try_from(seconds).ok()?.checked_mul(1_000_000)? + i64::from(nanos) / 1000)
}
