//! Callbacks: looked at, and called again.

use api_ack::store::{Callback, CallbackFilter, CallbackState, Deed, Recalled};
use axum::Json;
use axum::extract::State;
use database::clock;
use door::problem::{Code, Problem};
use serde::Deserialize;
use uuid::Uuid;

use super::AdminApi;
use super::caller::{Admin, Body, Named, Parameters, note, wrong};
use super::view::{CallbackDetail, CallbackLine, Page, StopLine};

/// Callbacks of a page, unless asked otherwise.
const PAGE: u32 = 50;
/// At most.
const PAGE_MAX: u32 = 500;
/// Rows a page looks at, at most.
const SCAN: u32 = 20_000;
/// Addresses in an answer at most; they are few.
const STOPS: u32 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    state: Option<CallbackState>,
    tenant: Option<String>,
    cursor: Option<Uuid>,
    limit: Option<u32>,
}

pub(super) async fn list(
    api: State<AdminApi>,
    admin: Admin,
    Parameters(asked): Parameters<List>,
) -> Result<Json<Page<CallbackLine>>, Problem> {
    let Ok(tenant) = admin.listed(asked.tenant) else { return Ok(Json(Page { items: Vec::new(), next: None })) };
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let filter = CallbackFilter { tenant, state: asked.state, before: asked.cursor, scan: SCAN, limit };
    let found = api.stores.callbacks.callbacks(&filter).await?;
    Ok(Json(Page { items: found.callbacks.into_iter().map(CallbackLine::from).collect(), next: found.next }))
}

pub(super) async fn show(api: State<AdminApi>, admin: Admin, Named(job): Named) -> Result<Json<CallbackDetail>, Problem> {
    let callback = find(&api, &admin, &job).await?;
    detail(&api, callback).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redrive {
    #[serde(default)]
    note: String,
}

pub(super) async fn redrive(
    api: State<AdminApi>,
    admin: Admin,
    Named(job): Named,
    Body(asked): Body<Redrive>,
) -> Result<Json<CallbackDetail>, Problem> {
    let deed = deed(&admin, "redrive", &asked.note)?;
    let callback = find(&api, &admin, &job).await?;
    match api.stores.callbacks.recall(callback.job, &deed).await? {
        Recalled::Done => {}
        Recalled::Unknown => return Err(unknown(&job)),
        Recalled::UnderWay(CallbackState::Waiting) => {
            return Err(Problem::new(
                Code::CallbackUnderWay,
                format!("the job {job} has not ended: there is nothing to tell yet"),
            ));
        }
        Recalled::UnderWay(_) => {
            return Err(Problem::new(
                Code::CallbackUnderWay,
                format!("the callback of {job} is owed already: it is called by itself"),
            ));
        }
        Recalled::Stopped => {
            let why = format!(
                "the receiver of {job} has answered 410: when it wants callbacks again, `warren callbacks enable --tenant {} {}`",
                callback.tenant, callback.target.url
            );
            return Err(Problem::new(Code::CallbackDisabled, why));
        }
    }
    tracing::info!(job = %callback.job, actor = admin.actor(), "a callback is redriven");
    let callback = find(&api, &admin, &job).await?;
    detail(&api, callback).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListStops {
    tenant: Option<String>,
}

/// Addresses that are not called.
pub(super) async fn stops(
    api: State<AdminApi>,
    admin: Admin,
    Parameters(asked): Parameters<ListStops>,
) -> Result<Json<Page<StopLine>>, Problem> {
    let Ok(tenant) = admin.listed(asked.tenant) else { return Ok(Json(Page { items: Vec::new(), next: None })) };
    let stops = api.stores.callbacks.stops(tenant.as_deref(), ("", ""), STOPS).await?;
    Ok(Json(Page { items: stops.into_iter().map(StopLine::from).collect(), next: None }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enable {
    tenant: String,
    url: String,
    #[serde(default)]
    note: String,
}

/// Lets an address be called again.
pub(super) async fn enable(api: State<AdminApi>, admin: Admin, Body(asked): Body<Enable>) -> Result<Json<StopLine>, Problem> {
    let deed = deed(&admin, "enable", &asked.note)?;
    if asked.url.is_empty() {
        return Err(wrong("url", "`url` is empty: `GET /admin/callbacks/disabled` lists those there are".to_owned()));
    }
    let nothing =
        || Problem::new(Code::CallbackNotFound, "this address is not disabled for this tenant: it is called as any other");
    if !admin.sees(&asked.tenant) {
        return Err(nothing());
    }
    if !api.stores.callbacks.unstop(&asked.tenant, &asked.url, &deed).await? {
        return Err(nothing());
    }
    tracing::info!(tenant = asked.tenant, actor = admin.actor(), "an address takes callbacks again");
    Ok(Json(StopLine { tenant: asked.tenant, url: asked.url, since: clock::timestamp(deed.at), job: None }))
}

fn deed(admin: &Admin, action: &str, text: &str) -> Result<Deed, Problem> {
    Ok(Deed { at: clock::now(), actor: admin.actor().to_owned(), note: note("note", text)?, action: action.to_owned() })
}

async fn detail(api: &AdminApi, callback: Callback) -> Result<Json<CallbackDetail>, Problem> {
    let deeds = api.stores.callbacks.deeds(callback.job).await?;
    Ok(Json(CallbackDetail::new(callback, deeds)))
}

async fn find(api: &AdminApi, admin: &Admin, job: &str) -> Result<Callback, Problem> {
    let id = Uuid::parse_str(job)
        .map_err(|_| Problem::new(Code::InvalidJobId, "a callback has the id of its job, which is a UUID"))?;
    let callback = api.stores.callbacks.callback(id).await?.filter(|callback| admin.sees(&callback.tenant));
    callback.ok_or_else(|| unknown(job))
}

fn unknown(job: &str) -> Problem {
    let shown: String = job.chars().filter(|c| !c.is_control()).take(64).collect();
    Problem::new(Code::CallbackNotFound, format!("the job {shown} has no callback, or is not there"))
}
