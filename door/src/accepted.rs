//! The `202 Accepted` of something that is stored, by whichever route it came.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::media::JSON;

/// Says that it is stored and can be read at `location`, a path; `body` is JSON. `replayed`: it was stored for an earlier request with the same
/// `Idempotency-Key`. Nothing else may differ then: a repetition is answered as the first was, to the byte.
pub fn accepted(location: Option<String>, body: String, replayed: bool) -> Response {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(Ok(location)) = location.map(HeaderValue::try_from) {
        headers.insert(LOCATION, location);
    }
    if replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    (StatusCode::ACCEPTED, headers, body).into_response()
}
