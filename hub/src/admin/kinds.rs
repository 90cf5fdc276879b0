//! Kinds: looked at, paused, resumed. A kind is everybody's, so only a token for all tenants pauses it.

use api_ack::kinds::KindSpec;
use axum::Json;
use axum::extract::State;
use door::problem::{Code, Problem};
use serde::Deserialize;

use super::AdminApi;
use super::caller::{Admin, Body, Named, note};
use super::view::{KindLine, Page};

pub(super) async fn list(State(api): State<AdminApi>, _: Admin) -> Json<Page<KindLine>> {
    Json(Page { items: api.kinds.iter().map(|spec| line(&api, &spec)).collect(), next: None })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    #[serde(default)]
    note: String,
}

pub(super) async fn pause(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(kind): Named,
    Body(asked): Body<Switch>,
) -> Result<Json<KindLine>, Problem> {
    put(&api, &admin, &kind, true, &asked.note).await
}

pub(super) async fn resume(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(kind): Named,
    Body(asked): Body<Switch>,
) -> Result<Json<KindLine>, Problem> {
    put(&api, &admin, &kind, false, &asked.note).await
}

async fn put(api: &AdminApi, admin: &Admin, kind: &str, paused: bool, text: &str) -> Result<Json<KindLine>, Problem> {
    let text = note("note", text)?;
    admin.for_all_tenants()?;
    let unknown = || Problem::new(Code::UnknownKind, "there is no kind of this name: `GET /admin/kinds` lists them");
    let spec = api.kinds.get(kind).ok_or_else(unknown)?;
    api.pauses.put(kind, paused, admin.actor(), &text).await?;
    tracing::info!(kind, actor = admin.actor(), paused, "a kind was paused or resumed");
    Ok(Json(line(api, &spec)))
}

fn line(api: &AdminApi, spec: &KindSpec) -> KindLine {
    KindLine::of(spec, api.pauses.of(spec.kind.as_str()))
}
