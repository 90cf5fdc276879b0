//! When a job is to run, and when it is given up, as its caller asks for it.
//!
//! Guarantees: what is out of the question (a time that is over, a deadline before the start) is refused, never bent. But a
//! request that was answered once is answered so again, though its times are over by now: that check stands in the acceptor.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

use crate::store::{Micros, Status};

/// How far a time may lie back and still mean now: clocks differ, and requests take their time.
const GRACE: Micros = 60_000_000;

/// How far ahead a job may be scheduled, and how long it may take from there.
const HORIZON: Micros = 366 * 86_400 * 1_000_000;

/// The headers that say it, in HTTP and in AMQP: time to run at, delay, deadline.
pub const TIMING_HEADERS: [&str; 3] = ["warren-run-at", "warren-delay", "warren-deadline"];

/// What a caller asks for, in its own words; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Not before this time: RFC 3339, within 366 days; up to a minute in the past means now. Header `Warren-Run-At`.
    pub run_at: Option<String>,
    /// Not before this long from now: `30s`, `1h 30m`, `7d`, or ISO 8601. Header `Warren-Delay`.
    pub delay: Option<String>,
    /// Given up at this time: RFC 3339, after the start and within 366 days of it. Header `Warren-Deadline`.
    pub deadline: Option<String>,
}

/// A time that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct TimingError {
    /// `run_at`, `delay` or `deadline`.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

impl Timing {
    /// Whether the job waits in the store for its time.
    pub fn is_scheduled(&self) -> bool {
        self.run_at.is_some() || self.delay.is_some()
    }

    /// What was said, by field: part of what makes two requests the same.
    pub(super) fn said(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = [("run_at", &self.run_at), ("delay", &self.delay), ("deadline", &self.deadline)];
        fields.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?)))
    }

    /// The status of a job accepted `now`, of a kind that gives up after `patience`. One that was long on its way may be `late`:
    /// a time to run at that went by meanwhile means now.
    pub(super) fn status(&self, patience: Duration, now: Micros, late: bool) -> Result<Status, TimingError> {
        let due = self.due(now, late)?;
        let start = due.unwrap_or(now);
        let deadline = match &self.deadline {
            Some(text) => self::deadline(text, start, now)?,
            None => start.saturating_add(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX)),
        };
        Ok(match due {
            Some(due) => Status::scheduled(now, due, deadline),
            None => Status::accepted(now, deadline),
        })
    }

    fn due(&self, now: Micros, late: bool) -> Result<Option<Micros>, TimingError> {
        let due = match (&self.run_at, &self.delay) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(wrong("delay", "cannot stand beside a time to run at: leave one of them out")),
            (Some(at), None) => instant("run_at", at).map(|at| if late { at.max(now) } else { at })?,
            (None, Some(delay)) => now.saturating_add(span(delay)?),
        };
        let field = if self.run_at.is_some() { "run_at" } else { "delay" };
        within_reach(field, due, now).map(Some)
    }
}

/// The time that a job is moved to, by the rules of [`Timing::run_at`].
pub(crate) fn run_at(text: &str, now: Micros) -> Result<Micros, TimingError> {
    within_reach("run_at", instant("run_at", text)?, now)
}

fn within_reach(field: &'static str, due: Micros, now: Micros) -> Result<Micros, TimingError> {
    if due < now - GRACE {
        return Err(wrong(field, "lies over a minute in the past: give a time to come, or leave it out to run at once"));
    }
    if due > now + HORIZON {
        return Err(wrong(field, "is over 366 days away"));
    }
    Ok(due.max(now))
}

fn deadline(text: &str, start: Micros, now: Micros) -> Result<Micros, TimingError> {
    let deadline = instant("deadline", text)?;
    if deadline <= now {
        return Err(wrong("deadline", "lies in the past: the job would end before it begins"));
    }
    if deadline <= start {
        return Err(wrong("deadline", "is not after the time the job is to run at"));
    }
    if deadline > start + HORIZON {
        return Err(wrong("deadline", "is over 366 days after the start"));
    }
    Ok(deadline)
}

fn instant(field: &'static str, text: &str) -> Result<Micros, TimingError> {
    let parsed = text.trim().parse::<Timestamp>();
    parsed.map(Timestamp::as_microsecond).map_err(|_| wrong(field, "must be RFC 3339 with an offset, as in 2030-01-31T09:00:00Z"))
}

fn span(text: &str) -> Result<Micros, TimingError> {
    let span: Option<Span> = text.trim().parse().ok();
    let exact = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    match exact.map(|exact| exact.as_micros()) {
        Some(micros) if micros < 0 => Err(wrong("delay", "is negative")),
        Some(micros) => Ok(i64::try_from(micros).unwrap_or(i64::MAX / 2)),
        None => Err(wrong("delay", "must be a duration with its unit, such as 30s, 5m, 1h 30m or 7d")),
    }
}

fn wrong(field: &'static str, why: &str) -> TimingError {
    TimingError { field, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::State;

    const NOW: Micros = 1_800_000_000_000_000;
    const DAY: Duration = Duration::from_secs(86_400);

    fn timing(run_at: &str, delay: &str, deadline: &str) -> Timing {
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Timing { run_at: said(run_at), delay: said(delay), deadline: said(deadline) }
    }

    fn at(micros: Micros) -> String {
        Timestamp::from_microsecond(micros).unwrap().to_string()
    }

    #[test]
    fn a_job_waits_for_its_time_and_its_patience_begins_then() {
        let now = Timing::default().status(DAY, NOW, false).unwrap();
        assert_eq!((now.state, now.due_at, now.deadline), (State::Accepted, NOW, NOW + 86_400_000_000));
        for (timing, due) in [
            (timing(&at(NOW + 60_000_000), "", ""), NOW + 60_000_000),
            (timing("", "1h 30m", ""), NOW + 5_400_000_000),
            (timing("", "PT90S", ""), NOW + 90_000_000),
            (timing("", "0s", ""), NOW),
            (timing(&at(NOW - 59_000_000), "", ""), NOW),
            (timing("", "366d", ""), NOW + HORIZON),
        ] {
            let status = timing.status(DAY, NOW, false).unwrap();
            assert_eq!((status.state, status.due_at, status.deadline), (State::Scheduled, due, due + 86_400_000_000));
            assert!(status.outlet.is_some() && status.owner.is_none());
        }
        let late = timing(&at(NOW - 3_600_000_000), "", "").status(DAY, NOW, true).unwrap();
        assert_eq!((late.state, late.due_at), (State::Scheduled, NOW));
        let status = timing("", "10s", &at(NOW + 11_000_000)).status(DAY, NOW, false).unwrap();
        assert_eq!(status.deadline, NOW + 11_000_000);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (timing, field) in [
            (timing(&at(NOW - 61_000_000), "", ""), "run_at"),
            (timing(&at(NOW + HORIZON + 1), "", ""), "run_at"),
            (timing("tomorrow", "", ""), "run_at"),
            (timing("2030-01-31T09:00:00", "", ""), "run_at"),
            (timing("", "-1s", ""), "delay"),
            (timing("", "30", ""), "delay"),
            (timing("", "367d", ""), "delay"),
            (timing("", "99999999999d", ""), "delay"),
            (timing("", "1 month", ""), "delay"),
            (timing(&at(NOW + 1_000_000), "1s", ""), "delay"),
            (timing("", "", &at(NOW)), "deadline"),
            (timing("", "", "x"), "deadline"),
            (timing("", "10s", &at(NOW + 10_000_000)), "deadline"),
            (timing("", "", &at(NOW + HORIZON + 1)), "deadline"),
        ] {
            assert_eq!(timing.status(DAY, NOW, false).unwrap_err().field, field, "{timing:?}");
        }
    }
}
