//! A dead letter with another body: a new job in its place, or a new message if it is no job's.

use api_ack::dead::Edition;
use api_ack::http::check_payload;
use api_ack::kinds::is_json;
use axum::Json;
use axum::extract::{Request, State};
use door::body::{self, check_json};
use door::key;
use door::problem::{Code, Problem};
use serde::Deserialize;

use super::AdminApi;
use super::caller::{Admin, BODY_DEADLINE, Named, Parameters, note};
use super::dead_letters::{find, refused};
use super::view::EditView;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default)]
    note: String,
}

/// The body is the new one, byte for byte; its content type stays the letter's.
pub(super) async fn edit(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(id): Named,
    Parameters(asked): Parameters<Asked>,
    asking: Request,
) -> Result<Json<EditView>, Problem> {
    let text = note("note", &asked.note)?;
    let request = match asking.headers().get("idempotency-key") {
        None => String::new(),
        Some(value) => key::parse(value.as_bytes()).map_err(|error| {
            Problem::new(Code::InvalidIdempotencyKey, error.to_string()).header("Idempotency-Key", error.to_string())
        })?,
    };
    let body = body::read(asking.into_body(), api.body_limit, BODY_DEADLINE).await?;
    let dead = find(&api, &admin, &id).await?;
    match api.kinds.get(&dead.letter.kind) {
        Some(spec) => check_payload(&spec, &dead.letter.content_type, &body, "")?,
        // The kind was taken out of the configuration: what JSON is, is known all the same.
        None if is_json(&dead.letter.content_type) => check_json(&body)?,
        None => {}
    }
    let edition = Edition { body, request: &request, actor: admin.actor(), note: &text };
    let replaced = api.dead.edit(dead.id, &edition).await.map_err(refused)?;
    tracing::info!(dead_letter = %dead.id, by = %replaced.by, actor = admin.actor(), "a dead letter was edited");
    let dead = find(&api, &admin, &id).await?;
    let edited_from = dead.letter.job_id;
    let (job_id, message_id) = if edited_from.is_some() { (Some(replaced.by), None) } else { (None, Some(replaced.by)) };
    Ok(Json(EditView { job_id, message_id, edited_from, replayed: replaced.replayed, letter: dead.into() }))
}
