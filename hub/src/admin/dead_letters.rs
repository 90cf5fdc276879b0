//! Dead letters: looked at, moved back, given up.

use api_ack::dead::DeadError;
use api_ack::selections::{LOOK, window};
use api_ack::store::{DeadFilter, DeadLetter, DeadState};
use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use door::problem::{Code, Problem};
use serde::Deserialize;
use uuid::Uuid;

use super::AdminApi;
use super::caller::{Admin, Body, Named, Parameters, note, wrong};
use super::filter::{Narrowed, of_query};
use super::jobs::page;
use super::view::{DeadDetail, DeadLine, Page};

/// Letters of a page, unless asked otherwise.
const PAGE: u32 = 50;
/// At most.
const PAGE_MAX: u32 = 500;
/// Read from the store at a time: their bodies come along, and may have 8 MiB each.
const AT_A_TIME: usize = 16;
/// Windows of [`LOOK`] letters that one answer looks through.
const WINDOWS: usize = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListDead {
    queue: Option<String>,
    kind: Option<String>,
    reason: Option<String>,
    code: Option<String>,
    fingerprint: Option<String>,
    state: Option<DeadState>,
    tenant: Option<String>,
    since: Option<String>,
    until: Option<String>,
    text: Option<String>,
    cursor: Option<Uuid>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(api): State<AdminApi>,
    admin: Admin,
    Parameters(asked): Parameters<ListDead>,
) -> Result<Json<Page<DeadLine>>, Problem> {
    let Ok(tenant) = admin.listed(asked.tenant) else { return Ok(Json(Page { items: Vec::new(), next: None })) };
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let ListDead { queue, kind, reason, code, fingerprint, state, cursor, since, until, text, .. } = asked;
    let narrowed = Narrowed { queue, kind, reason, code, fingerprint, since, until, text, tenant: None };
    let mut filter = DeadFilter { state, before: cursor, ..narrowed.filter(tenant).map_err(of_query)? };
    let mut items: Vec<DeadLine> = Vec::new();
    for _ in 0..WINDOWS {
        // One more than asked tells whether there is a next page.
        filter.limit = (limit + 1).saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
        let (ids, next) = window(&api.stores, &filter, LOOK).await?;
        for some in ids.chunks(AT_A_TIME) {
            let limit = u32::try_from(some.len()).unwrap_or(u32::MAX);
            let these = DeadFilter { from: some.last().copied(), limit, ..filter.clone() };
            items.extend(api.stores.dead.dead_letters(&these).await?.into_iter().map(DeadLine::from));
            filter.before = some.last().copied();
        }
        let full = items.len() > limit as usize;
        if full || next.is_none() {
            return Ok(Json(page(items, limit, |letter| letter.id)));
        }
        filter.before = next;
    }
    // Looked at enough for one answer: there may be more below.
    Ok(Json(Page { items, next: filter.before }))
}

pub(super) async fn show(State(api): State<AdminApi>, admin: Admin, Named(id): Named) -> Result<Json<DeadDetail>, Problem> {
    let dead = find(&api, &admin, &id).await?;
    detail(&api, dead).await
}

pub(super) async fn body(State(api): State<AdminApi>, admin: Admin, Named(id): Named) -> Result<Response, Problem> {
    let dead = find(&api, &admin, &id).await?;
    // A stranger wrote this: a browser must neither show it nor guess what it is.
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{}.bin\"", dead.id)),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
    ];
    Ok((headers, dead.letter.body).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redrive {
    #[serde(default)]
    note: String,
    #[serde(default)]
    force: bool,
}

pub(super) async fn redrive(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(id): Named,
    Body(asked): Body<Redrive>,
) -> Result<Json<DeadDetail>, Problem> {
    let text = note("note", &asked.note)?;
    let dead = find(&api, &admin, &id).await?;
    let moved = api.dead.redrive(dead.id, admin.actor(), &text, asked.force).await.map_err(refused)?;
    tracing::info!(dead_letter = %moved.id, actor = admin.actor(), "a dead letter goes back to its queue");
    detail(&api, moved).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Discard {
    #[serde(default)]
    reason: String,
}

pub(super) async fn discard(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(id): Named,
    Body(asked): Body<Discard>,
) -> Result<Json<DeadDetail>, Problem> {
    let reason = note("reason", &asked.reason)?;
    if reason.is_empty() {
        return Err(wrong("reason", "give a `reason`: it is kept on record".to_owned()));
    }
    let dead = find(&api, &admin, &id).await?;
    let gone = api.dead.discard(dead.id, admin.actor(), &reason).await.map_err(refused)?;
    // Somebody else may have been faster.
    if gone.state != DeadState::Discarded {
        return Err(refused(DeadError::NotOpen(gone.state)));
    }
    tracing::info!(dead_letter = %gone.id, actor = admin.actor(), "a dead letter was discarded");
    detail(&api, gone).await
}

/// The letter, if there is one and it is theirs to see.
pub(super) async fn find(api: &AdminApi, admin: &Admin, id: &str) -> Result<DeadLetter, Problem> {
    let found = match Uuid::parse_str(id) {
        Ok(id) => api.stores.dead.dead_letter(id).await?,
        Err(_) => None,
    };
    let found = found.filter(|dead| admin.sees(&dead.letter.tenant));
    found.ok_or_else(|| Problem::new(Code::DeadLetterNotFound, "there is no such dead letter, or it was purged"))
}

async fn detail(api: &AdminApi, dead: DeadLetter) -> Result<Json<DeadDetail>, Problem> {
    let audit = api.stores.dead.audit(dead.id).await?;
    Ok(Json(DeadDetail::new(dead, audit)))
}

pub(super) fn refused(error: DeadError) -> Problem {
    let code = match &error {
        DeadError::Unknown(_) => Code::DeadLetterNotFound,
        DeadError::NotOpen(_) => Code::DeadLetterNotOpen,
        DeadError::JobMovedOn(_) => Code::JobMovedOn,
        DeadError::JobPurged(_) => Code::Purged,
        DeadError::TooOld => Code::TooOldToRedrive,
        DeadError::UnknownKind(_) => Code::UnknownKind,
        DeadError::RequestReused => Code::IdempotencyKeyReused,
        DeadError::Store(_) => Code::StoreUnavailable,
    };
    match error {
        DeadError::Store(error) => error.into(),
        DeadError::NotOpen(state) => {
            let state = format!("{state:?}").to_lowercase();
            Problem::new(code, format!("the dead letter is {state} already: `warren dead show` tells who did it and why"))
        }
        error => Problem::new(code, error.to_string()),
    }
}
