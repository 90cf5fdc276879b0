//! Which dead letters are asked for, checked.

use api_ack::store::{DeadFilter, Micros};
use door::problem::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::caller::wrong;

/// The longest text that is looked for, in bytes.
const TEXT_MAX: usize = 200;

/// What narrows dead letters down; all of it must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Narrowed {
    /// The work queue they came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue: Option<String>,
    /// The kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    /// Why they died: `exhausted`, `rejected`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The code of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// The group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    /// Died then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<String>,
    /// Died before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<String>,
    /// Somewhere in the error; the case of ASCII letters does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
}

impl Narrowed {
    /// As the store takes it, for `tenant`.
    pub(super) fn filter(self, tenant: Option<String>) -> Result<DeadFilter, Problem> {
        if self.fingerprint.as_ref().is_some_and(|hash| hash.len() != 16 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(wrong(
                "fingerprint",
                "a `fingerprint` has 16 hex digits: `warren dead groups` lists those there are".to_owned(),
            ));
        }
        if self.text.as_ref().is_some_and(|text| text.is_empty() || text.len() > TEXT_MAX) {
            return Err(wrong("text", format!("a `text` to look for has 1 to {TEXT_MAX} bytes")));
        }
        let (since, until) = (moment("since", self.since.as_deref())?, moment("until", self.until.as_deref())?);
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(wrong("until", "`until` must be after `since`".to_owned()));
        }
        Ok(DeadFilter {
            tenant,
            queue: self.queue,
            kind: self.kind,
            reason: self.reason,
            code: self.code,
            fingerprint: self.fingerprint.map(|hash| hash.to_ascii_lowercase()),
            since,
            until,
            text: self.text,
            ..DeadFilter::default()
        })
    }
}

/// A time given under `name`.
pub(super) fn moment(name: &str, text: Option<&str>) -> Result<Option<Micros>, Problem> {
    let read = |text: &str| {
        let at =
            text.parse::<Timestamp>().map_err(|_| wrong(name, format!("`{name}` is no time such as 2026-01-02T03:04:05Z")))?;
        Ok(at.as_microsecond())
    };
    text.map(read).transpose()
}

/// A fault of a query has no place in a body.
pub(super) fn of_query(problem: Problem) -> Problem {
    Problem { errors: Vec::new(), ..problem }
}
