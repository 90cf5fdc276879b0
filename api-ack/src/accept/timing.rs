//! When a job is to run, and when it is given up, as its caller asks for it.
//!
//! Guarantees: what is out of the question (a time that is over, a deadline before the start) is refused, never bent. But a
//! request that was answered once is answered so again, though its times are over by now: that check stands in the acceptor.

use std::time::Duration;

use door::timing::{HORIZON, due, instant, within_reach, wrong};

use crate::store::{Micros, Status};
pub use door::timing::TimingError;

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
        let due = due(self.run_at.as_deref(), self.delay.as_deref(), now, late)?;
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
}

/// The time that a job is moved to, by the rules of [`Timing::run_at`].
pub(crate) fn run_at(text: &str, now: Micros) -> Result<Micros, TimingError> {
    within_reach("run_at", instant("run_at", text)?, now)
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

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
