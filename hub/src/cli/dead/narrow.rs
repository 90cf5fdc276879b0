//! Which dead letters, as people say it.

use std::time::Duration;

use clap::Args;
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde_json::{Map, Value};

/// What all of must hold. The reason is not here: to one command it is something else.
#[derive(Clone, Debug, Args)]
pub(super) struct Narrow {
    /// Only from this work queue
    #[arg(long)]
    queue: Option<String>,
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only this failure code, as in unknown-sku
    #[arg(long)]
    code: Option<String>,
    /// Only this group: a fingerprint of `warren dead groups`
    #[arg(long, value_name = "FINGERPRINT")]
    group: Option<String>,
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only those that died then or later: a time, or how long ago, as in 2h, 7d
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only those that died before: a time, or how long ago
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only those whose error holds this text, in capitals or not
    #[arg(long)]
    text: Option<String>,
}

impl Narrow {
    /// As the admin API takes it.
    pub(super) fn query(&self) -> Vec<(&'static str, Option<String>)> {
        let Self { queue, kind, code, group, tenant, since, until, text } = self.clone();
        let (since, until) = (since.map(|at| at.to_string()), until.map(|at| at.to_string()));
        vec![
            ("queue", queue),
            ("kind", kind),
            ("code", code),
            ("fingerprint", group),
            ("tenant", tenant),
            ("since", since),
            ("until", until),
            ("text", text),
        ]
    }

    /// As the body that freezes a selection.
    pub(super) fn body(&self, reason: Option<&String>) -> Value {
        let all = self.query().into_iter().chain([("reason", reason.cloned())]);
        Value::Object(all.filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))).collect::<Map<_, _>>())
    }
}

/// `2026-01-02T03:04:05Z`, or `2h` for two hours ago.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let ago = text.parse::<Span>().ok().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let ago = ago.and_then(|span| Duration::try_from(span).ok());
    let at = ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok());
    at.ok_or_else(|| "write a time, as in 2026-01-02T03:04:05Z, or how long ago with its unit, as in 30m, 2h, 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        assert_eq!(moment("2026-01-02T03:04:05Z").map(|at| at.as_second()), Ok(1_767_323_045));
        let ago = moment("2h").map(|at| Timestamp::now().as_second() - at.as_second());
        assert!(ago.is_ok_and(|ago| (7200..7260).contains(&ago)));
        for bad in ["yesterday", "2", "-2h", "", "2026-01-02"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
