//! Times that callers ask for: how they are written, and how far away they may be.

use jiff::{Span, SpanRelativeTo, Timestamp};

use database::Micros;

/// How far a time may lie back and still mean now: clocks differ, and requests take their time.
pub const GRACE: Micros = 60_000_000;

/// How far ahead a time may lie: 366 days.
pub const HORIZON: Micros = 366 * 86_400 * 1_000_000;

/// A time that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct TimingError {
    /// Which one, such as `run_at`.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

/// That `field` cannot be had.
pub fn wrong(field: &'static str, why: &str) -> TimingError {
    TimingError { field, why: why.to_owned() }
}

/// When something that is asked for now is due: at `run_at`, or after `delay`, which are the names of the fields too. `None` when
/// neither is said. With `late`, a time that has gone by means now.
///
/// # Errors
/// When both are said, or one is unreadable or out of reach.
pub fn due(run_at: Option<&str>, delay: Option<&str>, now: Micros, late: bool) -> Result<Option<Micros>, TimingError> {
    match (run_at, delay) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(wrong("delay", "cannot stand beside a time to run at: leave one of them out")),
        (Some(at), None) => {
            let at = instant("run_at", at)?;
            within_reach("run_at", if late { at.max(now) } else { at }, now).map(Some)
        }
        (None, Some(delay)) => within_reach("delay", now.saturating_add(span("delay", delay)?), now).map(Some),
    }
}

/// A time that is not over, or just now is, and is not over [`HORIZON`] away.
///
/// # Errors
/// When it is not.
pub fn within_reach(field: &'static str, due: Micros, now: Micros) -> Result<Micros, TimingError> {
    if due < now - GRACE {
        return Err(wrong(field, "lies over a minute in the past: give a time to come, or leave it out to run at once"));
    }
    if due > now + HORIZON {
        return Err(wrong(field, "is over 366 days away"));
    }
    Ok(due.max(now))
}

/// A point in time: RFC 3339.
///
/// # Errors
/// When it is none.
pub fn instant(field: &'static str, text: &str) -> Result<Micros, TimingError> {
    let parsed = text.trim().parse::<Timestamp>();
    parsed.map(Timestamp::as_microsecond).map_err(|_| wrong(field, "must be RFC 3339 with an offset, as in 2030-01-31T09:00:00Z"))
}

/// A length of time: `30s`, `1h 30m`, `7d`, or ISO 8601. Days have 24 hours.
///
/// # Errors
/// When it is none, or negative.
pub fn span(field: &'static str, text: &str) -> Result<Micros, TimingError> {
    let span: Option<Span> = text.trim().parse().ok();
    let exact = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    match exact.map(|exact| exact.as_micros()) {
        Some(micros) if micros < 0 => Err(wrong(field, "is negative")),
        Some(micros) => Ok(i64::try_from(micros).unwrap_or(i64::MAX / 2)),
        None => Err(wrong(field, "must be a duration with its unit, such as 30s, 5m, 1h 30m or 7d")),
    }
}
