//! What pages of other origins may do in a browser (CORS), on the public listener. Nothing unless `[cors]` names them.
//!
//! Any header may be sent: what a request says is checked where it is read, and a token is asked for either way.

use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::Cors;

/// What a page may read of an answer, beside what it always may.
const EXPOSED: [HeaderName; 6] = [
    HeaderName::from_static("location"),
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("idempotency-replayed"),
    HeaderName::from_static("x-request-id"),
];

/// The layer for the public routes, if any origin is let in.
pub(crate) fn layer(cors: &Cors) -> Option<CorsLayer> {
    if cors.origins.is_empty() {
        return None;
    }
    let origins = match cors.origins.iter().any(|origin| origin == Cors::ANY) {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(cors.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(cors.credentials)
        .expose_headers(EXPOSED)
        .max_age(cors.max_age);
    Some(layer)
}
