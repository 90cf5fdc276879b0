//! Durations and sizes as people write them: always with a unit.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::{Span, SpanRelativeTo};
use serde::Serializer;

const DURATION: [(&str, u128); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZE: [(&str, u128); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `30s`, `1h 30m`, `7d` or ISO 8601 `PT30S`; a day has 24 hours.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let span: Span = text.trim().parse().ok()?;
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(exact).ok()
}

/// Reads `512KiB`, `1MiB`, `2MB`; a number alone is not a size.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    has_unit.then(|| text.parse::<ByteSize>().ok()).flatten().map(|size| size.as_u64())
}

/// Writes a duration in the largest unit that leaves no rest.
pub(super) fn show_duration(duration: Duration) -> String {
    in_largest(duration.as_millis(), &DURATION, "s")
}

/// Writes a size in the largest unit that leaves no rest.
pub(super) fn show_size(bytes: u64) -> String {
    in_largest(bytes.into(), &SIZE, "B")
}

fn in_largest(amount: u128, units: &[(&str, u128)], zero: &str) -> String {
    match units.iter().find(|(_, unit)| amount >= *unit && amount.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", amount / unit),
        None => format!("0{zero}"),
    }
}

pub(super) fn dump_duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show_duration(*value))
}

pub(super) fn dump_optional<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => dump_duration(value, serializer),
        None => serializer.serialize_none(),
    }
}

pub(super) fn dump_size<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show_size(*value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_duration_is_shown_as_it_is_read() {
        for text in ["10s", "90s", "7d", "30m", "36h", "250ms", "0s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        assert_eq!(duration("1h 30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("PT5S"), Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_no_duration_is_none() {
        for text in ["30", "", "-5s", "1mo", "soon", "1y"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_carry_a_unit() {
        for text in ["1MiB", "512KiB", "3B", "8GiB", "0B"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        assert_eq!(size("1MB"), Some(1_000_000));
        assert_eq!((size("1024"), size("MiB"), size("-1KiB")), (None, None, None));
    }
}
