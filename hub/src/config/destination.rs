//! How careful Warren is with a destination of calls.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::rate::Rate;
use super::section::Section;
use super::units::{dump_duration, dump_optional};

/// One `[[destination]]`: what is sick or well as one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DestinationConfig {
    /// A word that kinds name in `http.destination`, or scheme, host and port as in `https://orders.internal:443`; required, at
    /// most 255 bytes.
    pub name: String,
    /// Calls at one time, per process, over all its kinds; 1 to 10,000, default 64.
    pub concurrency: u16,
    /// Calls in a time, per process, evenly spaced, as in `50/s`, `100/m`; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The authorities to trust for `https` instead of the system's, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// When it counts as sick.
    pub breaker: Breaker,
}

/// When a destination counts as sick, and for how long it is left alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Breaker {
    /// Share of failed calls from which on it does, in percent; 1 to 100, default 50. Failed are time-outs, broken connections,
    /// 408, 425, 429 without `Retry-After`, 5xx, and what took longer than `slow`.
    pub failure_percent: u32,
    /// Calls below which the share says nothing; 1 to 10,000, default 10.
    pub min_calls: u32,
    /// What is looked back on; 1 s to 1 h, default 30 s. Each process counts its own calls.
    #[serde(serialize_with = "dump_duration")]
    pub window: Duration,
    /// How long it is left alone before one call tries it; 100 ms to 1 h, default 30 s.
    #[serde(serialize_with = "dump_duration")]
    pub open: Duration,
    /// A call that takes longer counts as failed here, though the job succeeds; 1 ms to 1 h, absent: none does.
    #[serde(serialize_with = "dump_optional", skip_serializing_if = "Option::is_none")]
    pub slow: Option<Duration>,
}

impl Default for Breaker {
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self { failure_percent: 50, min_calls: 10, window: half_a_minute, open: half_a_minute, slow: None }
    }
}

impl DestinationConfig {
    /// A destination with every setting at its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), concurrency: 64, rate: None, ca_file: None, breaker: Breaker::default() }
    }

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name: Option<String> = section.required("name", "name it, and name it in `http.destination` of its kinds");
        if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 255) {
            section.problem("name", "must have 1 to 255 bytes");
        }
        let default = Self::new(name.clone().unwrap_or_default());
        let most = "from 1 to 10000";
        let concurrency = section.within("concurrency", u32::from(default.concurrency), 1..=10_000, most);
        let read = Self {
            concurrency: u16::try_from(concurrency).unwrap_or(default.concurrency),
            rate: section.opt("rate"),
            ca_file: section.opt("ca_file"),
            breaker: Breaker::read(&mut section.section("breaker")),
            name: default.name,
        };
        name.map(|_| read)
    }
}

impl Breaker {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let (moment, hour) = (Duration::from_millis(1), Duration::from_secs(3600));
        let slow: Option<Duration> = section.opt("slow");
        if slow.is_some_and(|slow| !(moment..=hour).contains(&slow)) {
            section.problem("slow", "must be from 1ms to 1h");
        }
        Self {
            failure_percent: section.within("failure_percent", default.failure_percent, 1..=100, "from 1 to 100"),
            min_calls: section.within("min_calls", default.min_calls, 1..=10_000, "from 1 to 10000"),
            window: section.within("window", default.window, Duration::from_secs(1)..=hour, "from 1s to 1h"),
            open: section.within("open", default.open, Duration::from_millis(100)..=hour, "from 100ms to 1h"),
            slow,
        }
    }
}
