//! `GET /v1/jobs/{id}/events`: a job's changes as Server-Sent Events.
//!
//! Waiting costs no query per client ([`crate::watch`]); each change that shows costs the one that reads what is sent.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream::unfold;
use tokio::time::{Instant, timeout_at};

use super::view::{JobView, ProgressView};
use super::{Api, headers, read};
use crate::store::{Job, JobRecord, Micros, Progress, State as JobState};
use crate::watch::{News, Subscription, TooMany};
use door::auth::Authenticated;
use door::problem::{Code, Document, Problem};
use door::scope::{JOBS_READ, JOBS_READ_ALL};

/// Between two comments that keep the connection from being taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long one stream lasts: the token it began with does not count for ever. The client comes back by itself.
const LONGEST: Duration = Duration::from_secs(3600);

/// Follow a job
///
/// Server-Sent Events. An event `state` carries the job as `GET /v1/jobs/{id}` shows it, first as it is and then after each
/// change of its state, attempt or time; states in between may be skipped. `id` is the job's version: a client that comes back with
/// `Last-Event-ID` is told only what is newer. An event `progress` carries `percent`, `note` and `at` when the handler says how far it is; it
/// has no `id`, and of several words within a second only the last is told. A comment every 15 s keeps the connection. The stream ends after the job's end, when
/// the hub drains, and after an hour; whoever comes back after the end it has seen gets 204, which tells an `EventSource` to stop.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    tag = "jobs",
    security(("token" = ["jobs:read"]), ("token" = ["jobs:read:all"])),
    params(
        ("id" = String, Path, description = "the job's id, a UUID"),
        ("Last-Event-ID" = Option<String>, Header, description = "the `id` of the last event seen"),
    ),
    responses(
        (status = 200, description = "the changes", body = String, content_type = "text/event-stream"),
        (status = 204, description = "the job has ended, and its end was seen"),
        (status = 400, description = "invalid-job-id, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "job-not-found: unknown, or not yours", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the shortest time that ended jobs of any kind are kept", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable, too-many-watchers", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn job(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    if !caller.has(JOBS_READ_ALL) {
        caller.require(JOBS_READ)?;
    }
    headers::refuse_unsupported(&request)?;
    let record = read::find(&api, &caller, read::id_of(id)?).await?;
    // What is no version was not sent by us: it names nothing that was seen.
    let seen: Option<i64> = request.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let news = seen.is_none_or(|seen| seen < record.job.version);
    if !news && record.job.status.state.is_end() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let subscription = api.live().watch.follow(record.job.id, record.job.version)?;
    // Who is not told how the job stands is not told how far it is either, and so is told that first.
    let said = record.progress.as_ref().filter(|_| news).map(Progress::order);
    let follow = Follow { shown: visible(&record.job), said, subscription, api, until: Instant::now() + LONGEST };
    let stream = changes(follow, news.then_some(record));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

impl From<TooMany> for Problem {
    fn from(error: TooMany) -> Self {
        Self::new(Code::TooManyWatchers, format!("{error}: ask again later, or poll the job")).retry_after(5)
    }
}

/// One client.
struct Follow {
    api: Api,
    subscription: Subscription,
    /// What the client was told last.
    shown: Visible,
    /// [`Progress::order`] of what it was told last of how far the job is.
    said: Option<(i32, i32, i64, Micros)>,
    until: Instant,
}

/// What a client sees change.
type Visible = (JobState, i32, i32, Micros, bool);

fn visible(job: &Job) -> Visible {
    let status = &job.status;
    (status.state, status.epoch, status.attempt, status.due_at, status.cancel_asked())
}

/// What the client is told next.
enum Told {
    State(Box<JobRecord>),
    Progress(Progress),
}

enum Next {
    Send(Follow, Told),
    Wait(Follow),
    End,
}

fn changes(follow: Follow, first: Option<JobRecord>) -> impl Stream<Item = Result<Event, Infallible>> {
    let start = match first {
        Some(record) => Next::Send(follow, Told::State(Box::new(record))),
        None => Next::Wait(follow),
    };
    unfold(start, async |next| {
        let (follow, told) = match next {
            Next::End => return None,
            Next::Send(follow, told) => (follow, told),
            Next::Wait(follow) => follow.next().await?,
        };
        let (event, next) = match told {
            Told::State(record) => {
                let (version, ended) = (record.job.version, record.job.status.state.is_end());
                let event = Event::default().event("state").id(version.to_string()).json_data(JobView::of(*record)).ok()?;
                (event, if ended { Next::End } else { Next::Wait(follow) })
            }
            // Without an id: what a client comes back with is still the version it saw.
            Told::Progress(progress) => {
                let event = Event::default().event("progress").json_data(ProgressView::of(progress)).ok()?;
                (event, Next::Wait(follow))
            }
        };
        Some((Ok(event), next))
    })
}

impl Follow {
    /// What shows next; `None` when the stream is to end.
    async fn next(mut self) -> Option<(Self, Told)> {
        loop {
            match timeout_at(self.until, self.subscription.news()).await.ok()?? {
                News::Job(job) if visible(&job) == self.shown => {}
                News::Job(job) => {
                    // With the store away the stream ends: the client comes back with its `Last-Event-ID`.
                    let record = self.api.store().record_of(job.id).await.ok()??;
                    self.shown = visible(&record.job);
                    self.said = record.progress.as_ref().map(Progress::order).or(self.said);
                    return Some((self, Told::State(Box::new(record))));
                }
                News::Progress(progress) if self.said.is_some_and(|said| said >= progress.order()) => {}
                News::Progress(progress) => {
                    self.said = Some(progress.order());
                    return Some((self, Told::Progress(progress)));
                }
            }
        }
    }
}
