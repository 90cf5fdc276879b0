//! Tokens that a hub under test believes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

/// The issuer in every token and in the hub's `auth.issuer`.
pub const ISSUER: &str = "warren-tests";
/// The HS256 secret the hub and the tests share; also a canary: it must not turn up in any output.
pub const SECRET: &str = "canary-hs256-0123456789abcdef0123456789abcdef";
/// Every scope there is.
pub const ALL_SCOPES: &str = "jobs:submit jobs:read jobs:read:all jobs:cancel jobs:admin";

/// A token for one hour, signed with [`SECRET`]; `scopes` are separated by spaces.
///
/// # Panics
/// When it cannot be signed.
pub fn token(tenant: &str, subject: &str, scopes: &str) -> String {
    let hour = SystemTime::now() + Duration::from_secs(3600);
    let expiry = hour.duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    let claims = json!({
        "iss": ISSUER,
        "aud": "warren",
        "exp": expiry.as_secs(),
        "sub": subject,
        "tenant": tenant,
        "scope": scopes,
    });
    let header = Header { kid: Some("tests".to_owned()), ..Header::default() };
    encode(&header, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("claims can be signed")
}
