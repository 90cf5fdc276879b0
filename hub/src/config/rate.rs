//! How fast something may come: `"1000/s"`, `"600/m"`, `"100/h"`.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Serialize, Serializer};
use toml::Value;

use super::value::FromValue;

const UNITS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

/// So many in a second, a minute or an hour; 1 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how much time.
    pub per: Duration,
}

impl Rate {
    const MAX: u32 = 1_000_000;

    /// So many in a second.
    pub const fn per_second(count: NonZeroU32) -> Self {
        Self { count, per: Duration::from_secs(1) }
    }

    /// So many in a minute.
    pub const fn per_minute(count: NonZeroU32) -> Self {
        Self { count, per: Duration::from_secs(60) }
    }

    /// The time from one to the next, if they come evenly.
    pub fn interval(self) -> Duration {
        self.per / self.count.get()
    }

    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let count = count.trim().parse::<NonZeroU32>().ok().filter(|count| count.get() <= Self::MAX)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        Some(Self { count, per: Duration::from_secs(*seconds) })
    }
}

impl FromValue for Rate {
    fn from_value(value: &Value) -> Result<Self, String> {
        let rate = value.as_str().and_then(Self::parse);
        rate.ok_or_else(|| "must be a rate from 1 to 1000000, such as \"1000/s\", \"600/m\" or \"100/h\"".to_owned())
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| *seconds == self.per.as_secs()).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.count)
    }
}
