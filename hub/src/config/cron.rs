//! Jobs by the clock.

use std::time::Duration;

use api_ack::cron::Schedule;
use api_ack::tags::Tags;
use broker_topology::Kind;
use serde::{Serialize, Serializer};
use toml::Value;

use super::section::Section;
use super::units::dump_duration;
use super::value::{FromValue, words};

/// One `[[cron]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CronConfig {
    /// Its stable name, as in `reports.nightly`, in the grammar of kinds; required, and part of what makes its ticks unique.
    pub name: Kind,
    /// When: minute, hour, day of month, month, day of week; required.
    #[serde(skip)]
    pub schedule: Schedule,
    /// The same as text.
    #[serde(rename = "schedule")]
    fields: String,
    /// The time zone of `schedule`, from the IANA database; default `UTC`.
    pub timezone: String,
    /// The kind of its jobs; required.
    pub kind: Kind,
    /// Whose the jobs are; required.
    pub tenant: String,
    /// Their payload, written as TOML and sent as JSON; an empty object by default.
    #[serde(serialize_with = "dump_data")]
    pub data: Data,
    /// Words to find them by, 8 at most; none by default.
    pub tags: TagList,
    /// What to do while the job of the tick before has not ended; default `allow`.
    pub overlap: Overlap,
    /// How far back a process that starts looks for a tick that nobody saw; default 0s, 7 days at most.
    #[serde(serialize_with = "dump_duration")]
    pub catch_up: Duration,
}

words! {
    /// What to do while the job of the tick before has not ended.
    Overlap {
        /// Make the next one all the same.
        Allow = "allow",
        /// Leave the tick out.
        Skip = "skip",
    }
}

/// A payload: JSON, written as TOML.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    toml: Value,
    /// As JSON.
    pub json: serde_json::Value,
}

/// Tags, as a list of words.
#[derive(Clone, Debug, PartialEq)]
pub struct TagList(pub Tags);

impl FromValue for TagList {
    fn from_value(value: &Value) -> Result<Self, String> {
        let words = Vec::<String>::from_value(value)?;
        Tags::of(words.iter().map(String::as_str)).map(Self).map_err(|error| format!("cannot be had: {error}"))
    }
}

impl Serialize for TagList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

fn dump_data<S: Serializer>(data: &Data, serializer: S) -> Result<S::Ok, S::Error> {
    data.toml.serialize(serializer)
}

impl FromValue for Data {
    fn from_value(value: &Value) -> Result<Self, String> {
        Ok(Self { json: json(value)?, toml: value.clone() })
    }
}

/// TOML as JSON; JSON has no dates.
fn json(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Datetime(date) => return Err(format!("has the date {date}, which JSON has not: write it in quotes")),
        Value::Array(items) => items.iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Table(table) => {
            let members = table.iter().map(|(name, value)| Ok((name.clone(), json(value)?)));
            serde_json::Value::Object(members.collect::<Result<_, String>>()?)
        }
    })
}

impl CronConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name: Option<Kind> = section.required("name", "give the entry its stable name, such as \"reports.nightly\"");
        let fields: Option<String> = section.required("schedule", "write five fields, as in \"0 9 * * MON-FRI\"");
        let kind: Option<Kind> = section.required("kind", "name the kind of its jobs");
        let tenant: Option<String> = section.required("tenant", "say whose the jobs are");
        let timezone = section.get("timezone", "UTC".to_owned());
        let data = section.get("data", Data { toml: toml::Table::new().into(), json: serde_json::json!({}) });
        let tags = section.get("tags", TagList(Tags::default()));
        let overlap = section.get("overlap", Overlap::Allow);
        let week = Duration::from_secs(7 * 86_400);
        let catch_up = section.within("catch_up", Duration::ZERO, Duration::ZERO..=week, "from 0s to 7d");
        let fields = fields?;
        let schedule = Schedule::parse(&fields, &timezone)
            .map_err(|error| section.problem("schedule", format!("\"{fields}\" in {timezone}: {error}")))
            .ok()?;
        Some(Self { name: name?, schedule, fields, timezone, kind: kind?, tenant: tenant?, data, tags, overlap, catch_up })
    }
}
