//! What is no endpoint: pages about problems, and everything else.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Uri};
use axum::response::IntoResponse;

use crate::problem::{Code, Document, Problem, shown};

/// Read about a problem
///
/// What a problem's code means and what to do, as Markdown. Needs no token.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "problems",
    params(("code" = String, Path, description = "the code of a problem")),
    responses(
        (status = 200, description = "the page", body = String, content_type = "text/plain"),
        (status = 404, description = "not-found", body = Document, content_type = "application/problem+json"),
    ),
)]
pub async fn problem(code: Result<Path<String>, PathRejection>) -> Result<impl IntoResponse, Problem> {
    let code = code.ok().and_then(|Path(code)| Code::parse(&code));
    let code = code.ok_or_else(|| Problem::new(Code::NotFound, "there is no problem with this code"))?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], code.page()))
}

/// Nothing is there.
pub async fn not_found(uri: Uri) -> Problem {
    Problem::new(Code::NotFound, format!("there is nothing at {}: GET /openapi.json lists what there is", shown(uri.path())))
}

/// Something is there that does not take the method.
pub async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("{} does not take {}", shown(uri.path()), shown(method.as_str())))
}
