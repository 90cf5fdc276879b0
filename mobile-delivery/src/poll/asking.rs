//! `GET /v1/device/messages`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use door::auth::Verifier;
use door::problem::{Code, Document, Problem, shown};
use serde::Deserialize;

use super::session::{PollSession, Turn};
use crate::protocol::poll::Polled;
use crate::protocol::{Close, MAX_LIST, Message, Window};
use crate::sessions::rows::{given, given_of_log, told_gap};
use crate::sessions::{Rung, Sessions};
use crate::socket::no_place;
use crate::store::{Device, Limit, Transport};

/// The longest wait: proxies end what is silent for a minute.
const WAIT_MAX: u64 = 55;

/// What is asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Seconds to wait when there is nothing, 0 to 55; 0 by default.
    #[param(example = 30)]
    wait: Option<u64>,
    /// Messages at most, 1 to 256; 64 by default. 1 MiB of payloads at most come at once, and one message whatever its size.
    max: Option<u32>,
}

/// Fetch messages
///
/// Answers at once while anything waits, else after `wait` at the latest. What is answered is leased to this device's polls for 60 s and then offered again,
/// unless it was acked. A newer poll of the device ends this one with 409.
#[utoipa::path(
    get,
    path = "/v1/device/messages",
    tag = "device",
    security(("token" = ["device"])),
    params(Asked),
    responses(
        (status = 200, description = "messages in the order of `seq`, perhaps none; with `more`, ask again at once", body = serde_json::Value,
            example = json!({"messages": [{"seq": 7, "id": "0192f3c4-5b6a-7c8d-9e0f-112233445566", "type": "order.shipped",
                "time": "2026-11-22T11:15:00Z", "content_type": "application/json", "data": {"order": 5}}], "more": false})),
        (status = 400, description = "invalid-parameter", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "session-replaced, via-differs", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable, too-many-sessions", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn poll(
    State(sessions): State<Sessions>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let bearer = sessions.bearer(Verifier::bearer_of(&headers)?)?;
    let wrong = |detail: String| Problem::new(Code::InvalidParameter, detail);
    let Query(asked) = asked.map_err(|why| wrong(format!("a query parameter is wrong: {}", shown(&why.body_text()))))?;
    let wait = asked.wait.unwrap_or(0);
    if wait > WAIT_MAX {
        return Err(wrong(format!("`wait` must be 0 to {WAIT_MAX} seconds")));
    }
    let max = asked.max.unwrap_or(64);
    if !(1..=MAX_LIST as u32).contains(&max) {
        return Err(wrong(format!("`max` must be 1 to {MAX_LIST}")));
    }
    let device = sessions.admit(&bearer.caller).await?;
    let _place = sessions.place().ok_or_else(no_place)?;
    let session = session(&sessions, &device).await?;
    let polled = answer(&sessions, &session, Instant::now() + Duration::from_secs(wait), max).await?;
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], polled.encode()))
}

/// The poll session of a device: the one that it has here, or a new one, which is the newest of the device.
async fn session(sessions: &Sessions, device: &Device) -> Result<Arc<PollSession>, Problem> {
    let fence = device.session.map(|session| session.fence);
    if let Some(session) = fence.and_then(|fence| sessions.polling().get(device.number, fence)) {
        return Ok(session);
    }
    let (tenure, standing) = sessions.claim_for(device, Transport::Poll).await?;
    let session = Arc::new(PollSession::new(tenure, standing));
    sessions.polling().put(device.number, session.clone());
    Ok(session)
}

async fn answer(sessions: &Sessions, session: &PollSession, until: Instant, max: u32) -> Result<Polled, Problem> {
    let mut turn = session.take_turn();
    loop {
        let polled = read(sessions, session, &turn, max).await?;
        if !polled.messages.is_empty() || polled.gap.is_some() {
            return Ok(polled);
        }
        if !wait(sessions, session, &mut turn, until).await? {
            return Ok(polled);
        }
    }
}

/// What there is, leased.
async fn read(sessions: &Sessions, session: &PollSession, turn: &Turn<'_>, max: u32) -> Result<Polled, Problem> {
    let (after, heard, room) = {
        let mut kept = session.kept();
        let room = kept.room(Instant::now());
        (kept.cursor, kept.log.unread(), u32::try_from(room).unwrap_or(u32::MAX))
    };
    if room == 0 {
        return Ok(Polled::default());
    }
    let limit = Limit { messages: max.min(room), bytes: Window::MAX.bytes.into() };
    let pending = sessions.pending(session.tenure.device(), after, limit).await?;
    let left = limit.messages.saturating_sub(u32::try_from(pending.messages.len()).unwrap_or(u32::MAX));
    let unheard = match heard.filter(|_| left > 0 && !pending.more) {
        Some(heard) => Some(sessions.unheard(session.tenure.device(), heard, Limit { messages: left, ..limit }).await?),
        None => None,
    };
    let mut kept = session.kept();
    // A newer poll has read the same: it gives it.
    if !turn.counts() {
        return Err(replaced());
    }
    let gap = kept.news(pending.gap).map(told_gap);
    let leased = kept.lease(pending.messages, Instant::now());
    let mut messages: Vec<Message> = leased.into_iter().map(|(row, again)| Message { dup: again, ..given(row) }).collect();
    let mut more = pending.more || (heard.is_some() && unheard.is_none());
    if let Some(unheard) = unheard {
        more |= unheard.more;
        let leased = kept.log.lease(unheard, Instant::now());
        messages.extend(leased.into_iter().map(|(entry, again)| Message { dup: again, ..given_of_log(&entry) }));
    }
    Ok(Polled { messages, more, gap })
}

/// Waits for something to read; `false` when it is time to answer.
async fn wait(sessions: &Sessions, session: &PollSession, turn: &mut Turn<'_>, until: Instant) -> Result<bool, Problem> {
    let (cursor, lapse) = {
        let kept = session.kept();
        (kept.cursor, kept.next_lapse())
    };
    if until <= Instant::now() || sessions.is_leaving() {
        return Ok(false);
    }
    let _waiting = session.tenure.waits_without_lane(cursor);
    let next = lapse.map_or(until, |lapse| lapse.min(until));
    tokio::select! {
        biased;
        () = turn.ended() => Err(replaced()),
        news = session.tenure.news() => match news {
            Rung::Look => {
                session.kept().log.look();
                Ok(true)
            }
            Rung::Retagged => {
                session.listen_anew().await?;
                Ok(true)
            }
            Rung::Over(close) => Err(ended(close)),
        },
        () = sessions.leaving() => Ok(false),
        () = tokio::time::sleep_until(next.into()) => Ok(next < until),
    }
}

pub(super) fn replaced() -> Problem {
    Problem::new(Code::SessionReplaced, "a newer session of this device took the place of this one")
}

fn ended(close: Close) -> Problem {
    match close {
        Close::DeviceRevoked => Problem::new(Code::DeviceRevoked, "the device was revoked"),
        Close::DeviceUnknown => Problem::new(Code::DeviceNotFound, "the device was removed: register it again"),
        Close::Displaced => replaced(),
        Close::Ended => Problem::new(Code::SessionReplaced, "an operator ended the session: fetch messages again"),
        _ => no_place(),
    }
}
