//! Making tokens: for `warren token mint`, for development and for tests. Never on behalf of a request.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

use super::{KeyError, KeySpec};

/// What a token is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose jobs.
    pub tenant: String,
    /// Who.
    pub subject: String,
    /// What they may do.
    pub scopes: Vec<String>,
    /// For how long from now.
    pub valid: Duration,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    tenant: &'a str,
    scope: String,
    iat: i64,
    exp: i64,
}

/// A token signed with `key`, which must be an HS256 one.
///
/// # Errors
/// When the key is another, too short, or the names are not ones that [`Verifier`](super::Verifier) takes.
pub fn mint(key: &KeySpec, issuer: &str, audience: &str, grant: &Grant) -> Result<String, KeyError> {
    let secret = key.secret()?;
    let unusable = |why: String| KeyError::Unusable { id: key.id.clone(), why };
    if !super::well_formed(&grant.tenant) || !super::well_formed(&grant.subject) {
        return Err(unusable("tenant and subject must have 1 to 200 bytes and no control characters".to_owned()));
    }
    let now = jiff::Timestamp::now().as_second();
    let valid = i64::try_from(grant.valid.as_secs()).unwrap_or(i64::MAX);
    let claims = Claims {
        iss: issuer,
        aud: audience,
        sub: &grant.subject,
        tenant: &grant.tenant,
        scope: grant.scopes.join(" "),
        iat: now,
        exp: now.saturating_add(valid).min(super::LAST_EXP),
    };
    let mut header = Header::new(key.algorithm.into());
    header.kid = Some(key.id.clone());
    encode(&header, &claims, &EncodingKey::from_secret(secret)).map_err(|error| unusable(error.to_string()))
}
