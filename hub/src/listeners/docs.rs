//! `/docs`: the page that shows the OpenAPI document and tries it.

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use door::pages::not_found;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// The page and its parts.
pub(super) fn page() -> Router {
    // The browser asks this hub and nobody else.
    let config = Config::from("/openapi.json").validator_url("none");
    Router::from(SwaggerUi::new("/docs").config(config)).layer(map_response(documented))
}

/// It refuses what is no part of it in few words, or none.
async fn documented(uri: Uri, answer: Response) -> Response {
    match answer.status() {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => not_found(uri).await.into_response(),
        _ => answer,
    }
}
