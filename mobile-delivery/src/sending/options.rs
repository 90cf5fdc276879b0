//! How a message is to be treated, as its sender asks for it.

use broker_topology::Priority;
use database::Micros;
use door::timing::{self, TimingError};

use super::SendError;
use crate::store::Limits;

/// Bytes of a type and of a collapse key at most.
const NAME: usize = 128;

/// The shortest time a message may wait, in microseconds: with less it would never get anywhere.
const SHORTEST: Micros = 1_000_000;

/// What a sender asks for, in its own words; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What it is, by the sender's own names: up to 128 bytes without control characters.
    pub kind: Option<String>,
    /// How long it may wait for a device, from when it may be given on: `30s`, `1h`, `28d`; 1 s to 28 days. Unsaid, that of the
    /// device's tier.
    pub ttl: Option<String>,
    /// Of two undelivered messages with the same key the older is dropped: up to 128 bytes without control characters.
    pub collapse_key: Option<String>,
    /// `normal` or `high`.
    pub priority: Option<String>,
    /// Not to be given before this time: RFC 3339, within 366 days. One that went by means now: a repetition may come late.
    pub run_at: Option<String>,
    /// Not to be given before this long from now: as `ttl`.
    pub delay: Option<String>,
    /// Whether its end is told by receipts; unsaid, it is not.
    pub receipt: Option<bool>,
    /// The one device of a user that it does not go to: where it comes from.
    pub except: Option<String>,
}

/// The same, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Treatment {
    pub(super) ttl: Option<Micros>,
    pub(super) priority: Priority,
    pub(super) not_before: Option<Micros>,
}

impl Options {
    /// Whether it waits for its time.
    pub fn is_scheduled(&self) -> bool {
        self.run_at.is_some() || self.delay.is_some()
    }

    /// What was said, by field: part of what makes two requests the same.
    pub(super) fn said(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = [
            ("type", &self.kind),
            ("ttl", &self.ttl),
            ("collapse_key", &self.collapse_key),
            ("priority", &self.priority),
            ("run_at", &self.run_at),
            ("delay", &self.delay),
            ("except", &self.except),
        ];
        let receipt = self.receipt.map(|receipt| ("receipt", if receipt { "true" } else { "false" }));
        fields.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?))).chain(receipt)
    }

    /// What it comes to at `now`.
    pub(super) fn treatment(&self, limits: &Limits, now: Micros) -> Result<Treatment, SendError> {
        check_name("type", self.kind.as_deref())?;
        check_name("collapse_key", self.collapse_key.as_deref())?;
        let ttl = self.ttl.as_deref().map(|text| ttl(text, limits.ttl)).transpose()?;
        let priority = match self.priority.as_deref().map(Priority::named) {
            None => Priority::Normal,
            Some(Some(priority)) => priority,
            Some(None) => return Err(SendError::Priority),
        };
        let not_before = timing::due(self.run_at.as_deref(), self.delay.as_deref(), now, true)?;
        Ok(Treatment { ttl, priority, not_before })
    }
}

fn ttl(text: &str, most: Micros) -> Result<Micros, SendError> {
    let wrong = |TimingError { field, why }| SendError::Invalid { field, why };
    match timing::span("ttl", text).map_err(wrong)? {
        short if short < SHORTEST => Err(SendError::invalid("ttl", "must be 1 s at least")),
        long if long > most => {
            Err(SendError::invalid("ttl", format!("is over {} hours, the longest that messages wait", most / 3_600_000_000)))
        }
        ttl => Ok(ttl),
    }
}

fn check_name(field: &'static str, name: Option<&str>) -> Result<(), SendError> {
    match name {
        Some(name) if name.is_empty() || name.len() > NAME || name.chars().any(char::is_control) => {
            Err(SendError::invalid(field, format!("must have 1 to {NAME} bytes and no control characters")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_800_000_000_000_000;
    const DAY: Micros = 86_400_000_000;

    fn treated(change: impl FnOnce(&mut Options)) -> Result<Treatment, SendError> {
        let mut options = Options::default();
        change(&mut options);
        options.treatment(&Limits::default(), NOW)
    }

    fn said(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        assert_eq!(treated(|_| {}), Ok(Treatment { ttl: None, priority: Priority::Normal, not_before: None }));
        for (text, ttl) in [("1s", 1_000_000), ("28d", 28 * DAY), ("1h 30m", 5_400_000_000), ("PT2M", 120_000_000)] {
            assert_eq!(treated(|o| o.ttl = said(text)).unwrap().ttl, Some(ttl), "{text}");
        }
        assert_eq!(treated(|o| o.priority = said("high")).unwrap().priority, Priority::High);
        assert_eq!(treated(|o| o.delay = said("1d")).unwrap().not_before, Some(NOW + DAY));
        let gone = jiff::Timestamp::from_microsecond(NOW - DAY).unwrap().to_string();
        assert_eq!(treated(|o| o.run_at = Some(gone)).unwrap().not_before, Some(NOW), "a repetition may come late");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let long = "x".repeat(129);
        for text in ["", "a\nb", &long] {
            for set in [(|o, t| o.kind = t) as fn(&mut Options, Option<String>), |o, t| o.collapse_key = t] {
                assert!(matches!(treated(|o| set(o, said(text))), Err(SendError::Invalid { .. })), "{text}");
            }
        }
        for text in ["", "30", "0s", "999ms", "-1s", "29d", "soon", "1 month"] {
            let refused = treated(|o| o.ttl = said(text));
            assert!(matches!(refused, Err(SendError::Invalid { field: "ttl", .. })), "{text}: {refused:?}");
        }
        for text in ["", "HIGH", "urgent"] {
            assert_eq!(treated(|o| o.priority = said(text)), Err(SendError::Priority));
        }
        for (run_at, delay, field) in
            [(said("tomorrow"), None, "run_at"), (None, said("367d"), "delay"), (said("x"), said("1s"), "delay")]
        {
            let refused = treated(|o| (o.run_at, o.delay) = (run_at, delay));
            assert!(matches!(&refused, Err(SendError::Timing(error)) if error.field == field), "{refused:?}");
        }
    }
}
