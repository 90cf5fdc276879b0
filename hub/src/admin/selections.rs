//! Many dead letters at once: frozen first, acted on then.

use api_ack::selections::{RATE, RATE_MAX};
use api_ack::store::{Acting, Action, Selection, Tally};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use database::clock;
use door::problem::{Code, Problem};
use serde::Deserialize;
use uuid::Uuid;

use super::AdminApi;
use super::caller::{Admin, Body, Named, Parameters, note, wrong};
use super::filter::Narrowed;
use super::view::{DeadLine, SelectionView};

/// Refusals of a page, unless asked otherwise.
const PAGE: u32 = 100;
/// At most.
const PAGE_MAX: u32 = 1000;

pub(super) async fn freeze(
    State(api): State<AdminApi>,
    admin: Admin,
    Body(asked): Body<Narrowed>,
) -> Result<(StatusCode, Json<SelectionView>), Problem> {
    let Ok(tenant) = admin.listed(asked.tenant.clone()) else {
        return Err(wrong("tenant", "this `tenant` is not the one of your token".to_owned()));
    };
    let shown = serde_json::to_value(&asked).unwrap_or_default();
    let frozen = api.selections.freeze(asked.filter(tenant)?, shown, admin.actor()).await?;
    let mut sample = Vec::new();
    for id in frozen.sample {
        sample.extend(api.stores.dead.dead_letter(id).await?.map(DeadLine::from));
    }
    tracing::info!(selection = %frozen.selection.id, actor = admin.actor(), letters = frozen.count, "dead letters were selected");
    let tally = Tally { waiting: frozen.count as u64, ..Tally::default() };
    let view = SelectionView { capped: frozen.capped, sample, ..SelectionView::new(frozen.selection, tally) };
    Ok((StatusCode::CREATED, Json(view)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refused {
    after: Option<i32>,
    limit: Option<u32>,
}

pub(super) async fn show(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(id): Named,
    Parameters(asked): Parameters<Refused>,
) -> Result<Json<SelectionView>, Problem> {
    let (selection, tally) = find(&api, &admin, &id).await?;
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let refusals = api.stores.selections.refusals(selection.id, asked.after.unwrap_or(0), limit).await?;
    let view = SelectionView { refusals: refusals.into_iter().map(Into::into).collect(), ..SelectionView::new(selection, tally) };
    Ok(Json(view))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redrive {
    #[serde(default)]
    note: String,
    #[serde(default)]
    force: bool,
    rate: Option<u32>,
}

pub(super) async fn redrive(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(id): Named,
    Body(asked): Body<Redrive>,
) -> Result<(StatusCode, Json<SelectionView>), Problem> {
    let (text, rate) = (note("note", &asked.note)?, rate(asked.rate)?);
    let actor = admin.actor().to_owned();
    act(&api, &admin, &id, Acting { action: Action::Redrive, force: asked.force, rate, actor, note: text, at: clock::now() })
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Discard {
    #[serde(default)]
    reason: String,
    rate: Option<u32>,
}

pub(super) async fn discard(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(id): Named,
    Body(asked): Body<Discard>,
) -> Result<(StatusCode, Json<SelectionView>), Problem> {
    let (reason, rate) = (note("reason", &asked.reason)?, rate(asked.rate)?);
    if reason.is_empty() {
        return Err(wrong("reason", "give a `reason`: it is kept on record".to_owned()));
    }
    let actor = admin.actor().to_owned();
    act(&api, &admin, &id, Acting { action: Action::Discard, force: false, rate, actor, note: reason, at: clock::now() }).await
}

/// Asked twice for the same, it is done once, as it was asked first.
async fn act(api: &AdminApi, admin: &Admin, id: &str, acting: Acting) -> Result<(StatusCode, Json<SelectionView>), Problem> {
    let (selection, _) = find(api, admin, id).await?;
    let (selection, tally) = api.selections.act(selection.id, &acting).await?.ok_or_else(unknown)?;
    let done = selection.acting.as_ref().ok_or_else(unknown)?;
    if done.action != acting.action {
        let word = format!("{:?}", done.action).to_lowercase();
        let detail =
            format!("`{word}` was asked of this selection before: `warren dead selection {}` tells how far it is", selection.id);
        return Err(Problem::new(Code::SelectionActed, detail));
    }
    tracing::info!(selection = %selection.id, actor = acting.actor, action = ?acting.action, "a selection of dead letters is under way");
    Ok((StatusCode::ACCEPTED, Json(SelectionView::new(selection, tally))))
}

fn rate(asked: Option<u32>) -> Result<u32, Problem> {
    let rate = asked.unwrap_or(RATE);
    let good = (1..=RATE_MAX).contains(&rate);
    good.then_some(rate).ok_or_else(|| wrong("rate", format!("a `rate` is 1 to {RATE_MAX} letters per second")))
}

fn unknown() -> Problem {
    Problem::new(Code::SelectionNotFound, "there is no such selection, or it has expired: freeze a new one")
}

/// The selection, if there is one and it is theirs to see.
async fn find(api: &AdminApi, admin: &Admin, id: &str) -> Result<(Selection, Tally), Problem> {
    let id = Uuid::parse_str(id).map_err(|_| unknown())?;
    let found = api.selections.get(id).await?;
    let theirs = |selection: &Selection| selection.tenant.as_ref().map_or(admin.sees_all(), |tenant| admin.sees(tenant));
    found.filter(|(selection, _)| theirs(selection)).ok_or_else(unknown)
}
