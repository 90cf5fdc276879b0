//! Making tokens: for `warren token mint`, for development, for tests, and for devices.

use std::fmt;
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
    Signer::new(key, issuer, audience)?.mint(grant)
}

/// Signs tokens: a key that was looked at once. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    header: Header,
    key: EncodingKey,
    issuer: String,
    audience: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs with `key`, which must be an HS256 one.
    ///
    /// # Errors
    /// When the key is another or too short.
    pub fn new(key: &KeySpec, issuer: &str, audience: &str) -> Result<Self, KeyError> {
        let secret = EncodingKey::from_secret(key.secret()?);
        let mut header = Header::new(key.algorithm.into());
        header.kid = Some(key.id.clone());
        Ok(Self { header, key: secret, issuer: issuer.to_owned(), audience: audience.to_owned() })
    }

    /// A token.
    ///
    /// # Errors
    /// When the names are not ones that [`Verifier`](super::Verifier) takes.
    pub fn mint(&self, grant: &Grant) -> Result<String, KeyError> {
        let unusable = |why: String| KeyError::Unusable { id: self.header.kid.clone().unwrap_or_default(), why };
        if !super::well_formed(&grant.tenant) || !super::well_formed(&grant.subject) {
            return Err(unusable("tenant and subject must have 1 to 200 bytes and no control characters".to_owned()));
        }
        let now = jiff::Timestamp::now().as_second();
        let valid = i64::try_from(grant.valid.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: &grant.subject,
            tenant: &grant.tenant,
            scope: grant.scopes.join(" "),
            iat: now,
            exp: now.saturating_add(valid).min(super::LAST_EXP),
        };
        encode(&self.header, &claims, &self.key).map_err(|error| unusable(error.to_string()))
    }
}
