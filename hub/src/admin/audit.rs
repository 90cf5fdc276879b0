//! Who did what to which dead letter.

use api_ack::selections::LOOK;
use api_ack::store::AuditFilter;
use axum::Json;
use axum::extract::State;
use door::problem::Problem;
use serde::Deserialize;
use uuid::Uuid;

use super::AdminApi;
use super::caller::{Admin, Parameters};
use super::filter::{moment, of_query};
use super::view::{AuditPage, AuditRecordLine};

/// Lines of a page, unless asked otherwise.
const PAGE: u32 = 100;
/// At most.
const PAGE_MAX: u32 = 1000;
/// Windows of [`LOOK`] lines that one answer looks through.
const WINDOWS: usize = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAudit {
    letter: Option<Uuid>,
    actor: Option<String>,
    tenant: Option<String>,
    since: Option<String>,
    cursor: Option<i64>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(api): State<AdminApi>,
    admin: Admin,
    Parameters(asked): Parameters<ListAudit>,
) -> Result<Json<AuditPage>, Problem> {
    let nothing = || Json(AuditPage { items: Vec::new(), next: None });
    let Ok(tenant) = admin.listed(asked.tenant) else { return Ok(nothing()) };
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let (letter, actor, since) = (asked.letter, asked.actor, moment("since", asked.since.as_deref()).map_err(of_query)?);
    let newest = AuditFilter { limit: 1, before: asked.cursor, ..AuditFilter::default() };
    let Some(newest) = api.stores.dead.audit_records(&newest).await?.pop() else { return Ok(nothing()) };
    let mut before = newest.number + 1;
    let mut items: Vec<AuditRecordLine> = Vec::new();
    for _ in 0..WINDOWS {
        // The lines of one letter are found by an index; others by a look at so many lines.
        let from = letter.is_none().then(|| before - i64::from(LOOK));
        let wanted = limit + 1 - u32::try_from(items.len()).unwrap_or(limit);
        let (tenant, actor) = (tenant.clone(), actor.clone());
        let filter = AuditFilter { tenant, letter, actor, since, before: Some(before), from, limit: wanted };
        items.extend(api.stores.dead.audit_records(&filter).await?.into_iter().map(AuditRecordLine::from));
        if items.len() > limit as usize {
            items.truncate(limit as usize);
            let next = items.last().map(|line| line.number);
            return Ok(Json(AuditPage { items, next }));
        }
        match from {
            Some(from) if from > 1 => before = from,
            _ => return Ok(Json(AuditPage { items, next: None })),
        }
    }
    Ok(Json(AuditPage { items, next: Some(before) }))
}
