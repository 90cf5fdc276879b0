//! `POST /v1/messages`: many messages in one request, each with a fate of its own.
//!
//! Not atomic: one bad item fails alone. All that are taken share commits with whoever else is waiting, in their order; the answer comes
//! when the last of them is decided.

use std::collections::VecDeque;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use door::auth::Caller;
use door::problem::{Code, Document, Problem};
use door::scope::MESSAGES_SEND;
use door::{batch, body, header, key};
use messaging::trace::Entered;
use serde::Serialize;

use super::Api;
use super::items::{self, Item};
use super::metrics::Sort;
use super::refusals::Place;
use super::send::{count, said_state};
use super::view::MessageLinks;
use crate::sending::{Accepted, Sending, Undecided};

/// Items of one batch that wait for their commit at once: a few batches do not fill the writer's queue.
const AT_ONCE: usize = 256;

/// What became of one item, in the place it had.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageBatchAnswer)]
pub(super) struct ItemAnswer<'a> {
    /// What a request of its own would have been answered with: 202 when the message is on disk.
    status: u16,
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// `queued`, or `scheduled` when the item names a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// `true` when this is the first answer again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<MessageLinks>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Document<'a>>,
}

/// What became of a batch.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageBatch)]
pub(super) struct BatchAnswer<'a> {
    /// Items whose message is on disk.
    accepted: usize,
    /// Items that were refused.
    refused: usize,
    /// One answer for each item, in order.
    items: Vec<ItemAnswer<'a>>,
}

/// Send many messages
///
/// A JSON array, or NDJSON with one item per line; at most 1,000 items and 8 MiB. Not atomic: each item has its own answer, and one bad
/// item fails alone. The answer comes when all that were taken are on disk.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "messages",
    security(("token" = ["messages:send"])),
    params(("traceparent" = Option<String>, Header, description = "W3C trace context, handed on to the devices")),
    request_body(content = Vec<Item>, content_type = "application/json", description = "the messages"),
    responses(
        (status = 200, description = "decided, each item for itself: 202, or invalid-item, or what a request of its own would be refused with",
            body = BatchAnswer),
        (status = 400, description = "malformed-batch, empty-body, malformed-json, body-incomplete, not-supported-yet",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large, batch-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type, unsupported-content-encoding",
            body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited: each item counts as a request; too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn send(State(api): State<Api>, request: Request) -> Response {
    let sent = items::traceparent(request.headers());
    let Entered { traceparent, mut span } = api.parts().tracer.serve("POST", "/v1/messages", sent);
    match take(&api, request, traceparent.as_deref()).await {
        Ok(response) => {
            if let Some(span) = &mut span {
                span.answered(response.status().as_u16());
            }
            response
        }
        Err(problem) => {
            if let Some(span) = span {
                span.refused(problem.code.status().as_u16(), problem.code.as_str());
            }
            problem.into_response()
        }
    }
}

async fn take(api: &Api, request: Request, traceparent: Option<&str>) -> Result<Response, Problem> {
    let (parts, sent) = request.into_parts();
    let caller = api.parts().verifier.authenticate(&parts.headers)?;
    caller.require(MESSAGES_SEND)?;
    refuse_for_all(&parts.headers)?;
    body::check_encoding(&parts.headers)?;
    let by_line = batch::is_by_line(&parts.headers)?;
    let mut standing = api.rates().take(&caller)?;
    let sent = body::read(sent, batch::BYTES, api.options().body_deadline).await?;
    let raw = batch::items(&sent, by_line)?;
    // The first was counted before the body was read.
    let more = u32::try_from(raw.len() - 1).unwrap_or(u32::MAX);
    standing = api.rates().take_more(&caller, more)?.or(standing);

    let decided = all(api, &caller, &raw, traceparent).await;
    let accepted = decided.iter().filter(|item| item.is_ok()).count();
    let answer =
        BatchAnswer { accepted, refused: decided.len() - accepted, items: decided.iter().map(|item| told(api, item)).collect() };
    let mut response = ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response();
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    Ok(response)
}

/// What stands for one message cannot stand for all of them.
fn refuse_for_all(headers: &HeaderMap) -> Result<(), Problem> {
    header::refuse_but(headers, &[])?;
    if headers.contains_key("idempotency-key") {
        let why = "an `Idempotency-Key` is for one message: give each item a `key` of its own";
        return Err(Problem::new(Code::MalformedBatch, why).header("idempotency-key", "not taken with a batch"));
    }
    Ok(())
}

/// Puts the messages one behind the other, so that devices get them in the order of the batch, and waits for them.
async fn all(api: &Api, caller: &Caller, raw: &[&str], traceparent: Option<&str>) -> Vec<Decided> {
    let mut decided = Vec::with_capacity(raw.len());
    let mut waiting = VecDeque::with_capacity(raw.len().min(AT_ONCE));
    for (index, raw) in raw.iter().enumerate() {
        // Reading megabytes of items is work that others wait for.
        tokio::task::coop::consume_budget().await;
        if waiting.len() == AT_ONCE {
            decided.extend(first(&mut waiting).await);
        }
        waiting.push_back((index, put(api, caller, index, raw, traceparent)));
    }
    while let Some(next) = first(&mut waiting).await {
        decided.push(next);
    }
    decided
}

/// A message of a batch on its way to the disk, or on it.
struct Taken<S> {
    sent: S,
    sort: Sort,
    state: &'static str,
}

type Put = Result<Taken<Undecided>, Problem>;

type Decided = Result<Taken<Accepted>, Problem>;

/// What became of the item that was put first.
async fn first(waiting: &mut VecDeque<(usize, Put)>) -> Option<Decided> {
    let (index, put) = waiting.pop_front()?;
    Some(match put {
        Ok(Taken { sent, sort, state }) => match sent.decided().await {
            Ok(sent) => Ok(Taken { sent, sort, state }),
            Err(error) => Err(Place::Item(&format!("/{index}")).refused(error)),
        },
        Err(problem) => Err(problem),
    })
}

fn put(api: &Api, caller: &Caller, index: usize, raw: &str, traceparent: Option<&str>) -> Put {
    let place = format!("/{index}");
    let mut item: Item<'_> = serde_json::from_str(raw)
        .map_err(|error| Problem::new(Code::InvalidItem, format!("item {index}: {error}")).pointer(&place, error.to_string()))?;
    let key = item.key.take().map(|key| key::parse(key.as_bytes())).transpose().map_err(|error| {
        Problem::new(Code::InvalidIdempotencyKey, error.to_string()).pointer(&format!("{place}/key"), error.to_string())
    })?;
    let wanted = item.wanted(api.options().body_limit, &place)?;
    let (sort, state) = (Sort::of(&wanted.target), said_state(wanted.options.is_scheduled()));
    let sending = Sending {
        tenant: caller.tenant.clone(),
        sender: caller.subject.clone(),
        publisher: None,
        target: wanted.target,
        content_type: wanted.content_type,
        body: wanted.body,
        options: wanted.options,
        traceparent: traceparent.map(str::to_owned),
        key,
    };
    let sent = api.parts().sender.put(sending).map_err(|error| Place::Item(&place).refused(error))?;
    Ok(Taken { sent, sort, state })
}

fn told<'a>(api: &Api, item: &'a Decided) -> ItemAnswer<'a> {
    match item {
        Ok(taken) => {
            let Accepted { id, replayed } = taken.sent;
            count(api, taken.sort, replayed);
            ItemAnswer {
                status: 202,
                id: Some(id.to_string()),
                state: Some(taken.state),
                replayed,
                links: Some(MessageLinks::of(id)),
                problem: None,
            }
        }
        Err(problem) => {
            api.metrics().refused(problem.code);
            ItemAnswer {
                status: problem.code.status().as_u16(),
                id: None,
                state: None,
                replayed: false,
                links: None,
                problem: Some(problem.document()),
            }
        }
    }
}
