//! When a `[[cron]]` entry ticks.

use std::fmt;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::Zoned;
use jiff::tz::AmbiguousOffset;

use crate::store::Micros;
use database::clock;

/// A crontab line in a time zone.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    crontab: Crontab,
    fixed_hours: bool,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSchedule(String);

impl Schedule {
    /// Reads five fields (minute, hour, day of month, month, day of week) in a zone of the IANA database, such as
    /// `Europe/Berlin`.
    ///
    /// # Errors
    /// [`BadSchedule`] with what is wrong, also for one that never ticks.
    pub fn parse(fields: &str, zone: &str) -> Result<Self, BadSchedule> {
        let (fields, zone) = (fields.trim(), zone.trim());
        if fields.split_whitespace().count() != 5 {
            let five = "needs five fields: minute, hour, day of month, month, day of week, as in \"0 9 * * MON-FRI\"";
            return Err(BadSchedule(five.to_owned()));
        }
        if zone.is_empty() || zone.contains(char::is_whitespace) {
            return Err(BadSchedule("needs a time zone such as Europe/Berlin".to_owned()));
        }
        let text = format!("{fields} {zone}");
        let crontab = cronexpr::parse_crontab(&text).map_err(|error| BadSchedule(error.to_string().replace('\n', " ")))?;
        let fixed_hours = fields.split_whitespace().nth(1).is_some_and(|hours| !hours.contains('*'));
        let schedule = Self { text, crontab, fixed_hours };
        match schedule.next(clock::now()) {
            Some(_) => Ok(schedule),
            None => Err(BadSchedule("never comes".to_owned())),
        }
    }

    /// The first tick after `after`.
    ///
    /// Where clocks go back, the times of an hour come twice: a schedule of fixed hours ticks at the first of the two, one whose
    /// hours are `*` goes on by the minute. Where they go forward, a time that is skipped does not come that day.
    pub fn next(&self, after: Micros) -> Option<Micros> {
        let mut at = clock::timestamp(after);
        loop {
            let next = self.crontab.find_next(MakeTimestamp(at)).ok()?;
            at = next.timestamp();
            if !(self.fixed_hours && is_second_of_two(&next)) {
                return Some(at.as_microsecond());
            }
        }
    }

    /// The last tick after `after` and not after `until`.
    pub fn latest(&self, after: Micros, until: Micros) -> Option<Micros> {
        let mut latest = None;
        let mut at = after;
        // From the near end first: an entry that ticks every minute is not walked from a day ago.
        for reach in [120, 7200, 172_800].map(|seconds: i64| seconds * 1_000_000) {
            if until - reach > after && self.next(until - reach).is_some_and(|tick| tick <= until) {
                at = until - reach;
                break;
            }
        }
        while let Some(tick) = self.next(at).filter(|tick| *tick <= until) {
            latest = Some(tick);
            at = tick;
        }
        latest
    }
}

/// Whether clocks have shown this time before, an hour ago.
fn is_second_of_two(time: &Zoned) -> bool {
    match time.time_zone().to_ambiguous_zoned(time.datetime()).offset() {
        AmbiguousOffset::Fold { after, .. } => time.offset() == after,
        _ => false,
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({})", self.text)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(text: &str) -> Micros {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn ticks(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
        let ticks = std::iter::successors(schedule.next(at(from)), |tick| schedule.next(*tick));
        ticks.take(count).map(|tick| clock::timestamp(tick).to_string()).collect()
    }

    #[test]
    fn a_tick_comes_once_and_after_what_was_seen() {
        let schedule = Schedule::parse("*/15 * * * *", "UTC").unwrap();
        assert_eq!(
            ticks(&schedule, "2026-01-01T00:00:00Z", 3),
            ["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z", "2026-01-01T00:45:00Z"]
        );
        assert_eq!(schedule.next(at("2026-01-01T00:15:00Z")), Some(at("2026-01-01T00:30:00Z")));
    }

    #[test]
    fn the_zone_decides_also_when_clocks_change() {
        let berlin = |fields| Schedule::parse(fields, "Europe/Berlin").unwrap();
        // The night of 2026-03-29 has no 02:30 there; the night of 2026-10-25 has two.
        assert_eq!(
            ticks(&berlin("30 2 * * *"), "2026-03-27T12:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]
        );
        assert_eq!(ticks(&berlin("30 2 * * *"), "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        assert_eq!(ticks(&berlin("30 * * * *"), "2026-10-25T00:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    }

    #[test]
    fn the_latest_tick_is_found_near_and_far() {
        for (fields, latest) in [
            ("* * * * *", Some("2026-01-31T12:00:00Z")),
            ("0 * * * *", Some("2026-01-31T12:00:00Z")),
            ("5 9 * * *", Some("2026-01-31T09:05:00Z")),
            ("0 0 29 * *", Some("2026-01-29T00:00:00Z")),
            ("0 0 1 2 *", None),
        ] {
            let schedule = Schedule::parse(fields, "UTC").unwrap();
            let found = schedule.latest(at("2026-01-24T12:00:30Z"), at("2026-01-31T12:00:30Z"));
            assert_eq!(found.map(|tick| clock::timestamp(tick).to_string()).as_deref(), latest, "{fields}");
        }
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (fields, zone) in [
            ("* * * *", "UTC"),
            ("* * * * * *", "UTC"),
            ("61 * * * *", "UTC"),
            ("a * * * *", "UTC"),
            ("* * * * *", "Mars/Olympus"),
            ("* * * * *", ""),
            ("0 0 31 2 *", "UTC"),
        ] {
            assert!(Schedule::parse(fields, zone).is_err(), "{fields} {zone}");
        }
    }
}
