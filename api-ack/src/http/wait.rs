//! `Prefer: wait=N` (RFC 7240): the answer may be the ended job instead of the 202, if it ends in time.
//!
//! The 202 is earned before the wait begins: whoever loses patience, or the connection, has lost nothing. Waiting costs no query per
//! client ([`crate::watch`]). A preference is a wish: one that cannot be read, or that nobody may have who cannot read jobs, is
//! passed over, and `Preference-Applied` tells which was heeded.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use super::Api;
use crate::store::JobRecord;
use door::auth::Caller;
use door::scope::{JOBS_READ, JOBS_READ_ALL};

/// The longest wait, in seconds; who asks for more waits so long.
const LONGEST: u64 = 30;

/// How many seconds the client would wait for the end of the job.
pub(super) fn wanted(headers: &HeaderMap, caller: &Caller) -> Option<u64> {
    if !(caller.has(JOBS_READ) || caller.has(JOBS_READ_ALL)) {
        return None;
    }
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut waits = values.flat_map(|value| value.split(',')).filter_map(seconds);
    // Of two that are said, the first counts (RFC 7240, 2).
    waits.next().filter(|seconds| *seconds > 0).map(|seconds| seconds.min(LONGEST))
}

/// `wait=5`, `Wait = "5"; x=y`.
fn seconds(preference: &str) -> Option<u64> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let number = bare.bytes().all(|b| b.is_ascii_digit()).then(|| bare.parse().unwrap_or(u64::MAX)).filter(|_| !bare.is_empty());
    number.filter(|_| name.trim().eq_ignore_ascii_case("wait"))
}

/// How a wait ended.
pub(super) enum Waited {
    /// It never began: too many wait already.
    Not,
    /// The job has not ended in time.
    InVain,
    /// The job has ended.
    Ended(Box<JobRecord>),
}

/// Waits so many seconds for the end of the job.
pub(super) async fn for_end(api: &Api, id: Uuid, seconds: u64) -> Waited {
    let Ok(mut subscription) = api.live().watch.job(id, 0) else { return Waited::Not };
    let ended = tokio::time::timeout(Duration::from_secs(seconds), subscription.ended()).await;
    let Ok(Some(_)) = ended else { return Waited::InVain };
    api.store().record_of(id).await.ok().flatten().map_or(Waited::InVain, |record| Waited::Ended(Box::new(record)))
}

/// What `Preference-Applied` says.
pub(super) fn applied(seconds: u64) -> HeaderValue {
    HeaderValue::try_from(format!("wait={seconds}")).unwrap_or(HeaderValue::from_static("wait"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_wherever_it_stands_and_never_held_against_anybody() {
        for (text, expected) in [
            ("wait=5", Some(5)),
            ("Wait = \"5\"; x=y", Some(5)),
            ("wait=99999999999999999999", Some(u64::MAX)),
            ("wait", None),
            ("wait=", None),
            ("wait=-1", None),
            ("wait=5s", None),
            ("waiting=5", None),
            ("respond-async", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
