//! `GET /v1/kinds/{kind}/events`: the changes of all jobs of a kind as Server-Sent Events.
//!
//! Costs the store one query per tenth of a second while something changes, whatever the number of clients ([`crate::feed`]).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream::unfold;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use door::auth::{Authenticated, Caller};
use door::problem::{Document, Problem};
use door::scope::{JOBS_READ, JOBS_READ_ALL};

use super::refusals::unknown_kind;
use super::view::Links;
use super::{Api, headers};
use crate::feed::{Changed, Subscription, Told};
use crate::store::State as JobState;
use database::clock;

/// Between two comments that keep the connection from being taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long one stream lasts: the token it began with does not count for ever. The client comes back by itself.
const LONGEST: Duration = Duration::from_secs(3600);

/// A job of a kind, after a change.
#[derive(Serialize)]
struct ChangeView<'a> {
    id: String,
    kind: &'a str,
    subject: &'a str,
    state: JobState,
    epoch: i32,
    attempt: i32,
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cancel_requested: bool,
    version: i64,
    accepted_at: Timestamp,
    ended_at: Option<Timestamp>,
    links: Links,
}

/// Follow the jobs of a kind
///
/// Server-Sent Events, live from the first one, which is `live`. An event `state` is a job after a change: `id`, `kind`, `subject`, `state`,
/// `epoch`, `attempt`, `reason`, `version`, `accepted_at`, `ended_at`. With `jobs:read` these are the jobs of the token's subject, with
/// `jobs:read:all` all of the tenant. States in between may be skipped, and one may come twice: its `id` (job and version) is the
/// same. An event `gap` says that something may have been missed, with its `reason`: `slow` (the client), `busy` (the hub), `notices` (word from
/// other processes), `store`, or `reconnected` for a client that comes back with a `Last-Event-ID`. Who must miss nothing then lists the
/// jobs. A comment every 15 s keeps the connection; the stream ends when the hub drains, and after an hour.
#[utoipa::path(
    get,
    path = "/v1/kinds/{kind}/events",
    tag = "kinds",
    security(("token" = ["jobs:read"]), ("token" = ["jobs:read:all"])),
    params(
        ("kind" = String, Path, description = "the kind of job"),
        ("Last-Event-ID" = Option<String>, Header, description = "the `id` of the last event seen; what came after it is not told again"),
    ),
    responses(
        (status = 200, description = "the changes", body = String, content_type = "text/event-stream"),
        (status = 400, description = "not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "unknown-kind", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "too-many-watchers", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn kind(
    State(api): State<Api>,
    caller: Authenticated,
    name: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    if !caller.has(JOBS_READ_ALL) {
        caller.require(JOBS_READ)?;
    }
    headers::refuse_unsupported(&request)?;
    let Ok(Path(name)) = name else { return Err(unknown_kind("")) };
    let spec = api.acceptor().kinds().get(&name).ok_or_else(|| unknown_kind(&name))?;
    let subscription = api.live().feed.subscribe(spec.kind.as_str()).await?;
    let mut first = vec![Event::default().event("live").data(json!({"kind": spec.kind.as_str()}).to_string())];
    if request.contains_key("last-event-id") {
        first.insert(0, gap("reconnected"));
    }
    let follow = Follow { first, caller: (*caller).clone(), subscription, until: Instant::now() + LONGEST };
    let stream = unfold(follow, async |follow| follow.next().await);
    Ok(Sse::new(changes(stream)).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

fn changes(events: impl Stream<Item = Event>) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::StreamExt::map(events, Ok)
}

fn gap(reason: &str) -> Event {
    Event::default().event("gap").data(json!({ "reason": reason }).to_string())
}

/// One client.
struct Follow {
    /// What it is told before anything else, the last first.
    first: Vec<Event>,
    caller: Caller,
    subscription: Subscription,
    until: Instant,
}

impl Follow {
    async fn next(mut self) -> Option<(Event, Self)> {
        if let Some(event) = self.first.pop() {
            return Some((event, self));
        }
        loop {
            let event = match timeout_at(self.until, self.subscription.next()).await.ok()?? {
                Told::Gap(reason) => gap(reason),
                Told::Changed(changed) if self.may_read(&changed) => shown(&changed)?,
                Told::Changed(_) => continue,
            };
            return Some((event, self));
        }
    }

    fn may_read(&self, changed: &Changed) -> bool {
        self.caller.tenant == changed.job.tenant && (self.caller.has(JOBS_READ_ALL) || self.caller.subject == changed.subject)
    }
}

fn shown(Changed { job, subject }: &Changed) -> Option<Event> {
    let status = &job.status;
    let view = ChangeView {
        id: job.id.to_string(),
        kind: &job.kind,
        subject,
        state: status.state,
        epoch: status.epoch,
        attempt: status.attempt,
        reason: status.reason.as_deref(),
        cancel_requested: status.cancel_asked(),
        version: job.version,
        accepted_at: clock::timestamp(clock::made_at(job.id).unwrap_or_default()),
        ended_at: status.ended_at.map(clock::timestamp),
        links: Links::of(job.id),
    };
    Event::default().event("state").id(format!("{}/{}", job.id, job.version)).json_data(view).ok()
}
