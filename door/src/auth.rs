//! Who asks: JSON Web Tokens, verified against configured keys.
//!
//! A key is good for one algorithm, and the token's `alg` must be that one: it chooses nothing. `kid` is only looked up among the
//! configured ids; no file is opened and no address called for what a token says (`jku`, `x5u`, `jwk` are not read).
//! Required: `iss`, `aud`, `exp`, `sub`, `tenant`, `scope`; `nbf` is honoured; clocks may differ by 30 s.
//!
//! A token that was verified is remembered by its SHA-256, so a busy client costs one signature check, not one per request. Its
//! expiry is checked each time. Of a token that no key here signed its sender learns just that, and only so often (`guesses.rs`):
//! which keys there are, and for what, is nobody's business. A key taken out of the configuration counts until the restart that takes it out.

mod cache;
mod guesses;
mod key;
mod mint;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use jsonwebtoken::errors::{Error, ErrorKind};
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use key::{Algorithm, KeyError, KeySpec, Material};
pub use mint::{Grant, Signer, mint};

use crate::problem::{Code, Problem, shown};
use crate::rates::Rate;
use cache::Cache;
use guesses::Guesses;

/// What `aud` must be, unless configured.
pub const AUDIENCE: &str = "warren";

/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 30;
/// The longest token looked at, in bytes.
const TOKEN_MAX: usize = 8 * 1024;
/// The longest `kid`, in bytes.
const KID_MAX: usize = 64;
/// The longest tenant or subject, in bytes.
const NAME_MAX: usize = 200;
/// The end of the year 9999: a later `exp` is a mistake or an attack.
const LAST_EXP: i64 = 253_402_300_799;

/// Who asks, as the token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose jobs these are.
    pub tenant: String,
    /// Who it is within the tenant.
    pub subject: String,
    /// When the token was made (`iat`), in seconds since the Unix epoch, if it says so.
    pub issued_at: Option<i64>,
    scopes: Vec<String>,
}

impl Caller {
    #[cfg(test)]
    pub(crate) fn new(tenant: &str, subject: &str) -> Self {
        Self { tenant: tenant.to_owned(), subject: subject.to_owned(), issued_at: None, scopes: Vec::new() }
    }

    /// Whether the token has this scope.
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }

    /// Goes on only with this scope.
    ///
    /// # Errors
    /// A 403 that names it.
    pub fn require(&self, scope: &'static str) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        Err(Problem::new(Code::ScopeMissing, format!("this needs a token with the scope `{scope}`")))
    }
}

/// Verifies tokens. Share it in an [`Arc`].
#[derive(Debug)]
pub struct Verifier {
    keys: HashMap<String, key::Verifying>,
    cache: Cache,
    guesses: Guesses,
}

impl Verifier {
    /// A verifier that believes `keys` when they speak for `issuer` to `audience`. Without a key it believes nobody.
    ///
    /// # Errors
    /// When a key is unusable, too short, or there twice.
    pub fn new(keys: &[KeySpec], issuer: &str, audience: &str) -> Result<Self, KeyError> {
        let mut verifying = HashMap::with_capacity(keys.len());
        for spec in keys {
            if verifying.insert(spec.id.clone(), key::Verifying::new(spec, issuer, audience)?).is_some() {
                return Err(KeyError::Twice(spec.id.clone()));
            }
        }
        Ok(Self { keys: verifying, cache: Cache::new(10_000), guesses: Guesses::default() })
    }

    /// Answers no more than so many tokens of one client address with what is wrong, if no key here signed them.
    #[must_use]
    pub fn limited(mut self, rate: Rate) -> Self {
        self.guesses = Guesses::new(rate);
        self
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// A 401 that says what is wrong, never with the token in it; a 429 where too much was wrong before.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Problem> {
        self.verify(Self::bearer_of(headers)?)
    }

    /// The bearer token of a request, whatever it is good for.
    ///
    /// # Errors
    /// A 401 when there is none, or not one.
    pub fn bearer_of(headers: &HeaderMap) -> Result<&[u8], Problem> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Err(Problem::new(Code::TokenMissing, "send a token: `Authorization: Bearer <token>`"));
        };
        if values.next().is_some() {
            return Err(invalid("the request has more than one Authorization header"));
        }
        bearer(value.as_bytes()).ok_or_else(|| {
            Problem::new(Code::TokenMissing, "the Authorization header must be `Bearer <token>`; other schemes are not taken")
        })
    }

    /// The refusal of a credential that was not made by a key but by the hub itself, such as the token of a run: counted as any
    /// other that was not signed here. `why` is for the log, `detail` for who sent it.
    pub fn refuse(&self, why: &str, detail: &'static str) -> Problem {
        let problem = self.guesses.refuse(why);
        if problem.code == Code::TokenInvalid { Problem::new(Code::TokenInvalid, detail) } else { problem }
    }

    /// Who a token speaks for.
    ///
    /// # Errors
    /// As [`Verifier::authenticate`].
    pub fn verify(&self, token: &[u8]) -> Result<Arc<Caller>, Problem> {
        self.verify_until(token).map(|(caller, _)| caller)
    }

    /// Who a token speaks for, and until when (`exp`), in seconds since the Unix epoch: for connections that outlast it.
    ///
    /// # Errors
    /// As [`Verifier::authenticate`].
    pub fn verify_until(&self, token: &[u8]) -> Result<(Arc<Caller>, i64), Problem> {
        if token.len() > TOKEN_MAX {
            return Err(self.guesses.refuse("it is longer than 8 KiB"));
        }
        let now = jiff::Timestamp::now().as_second();
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some((caller, exp)) = self.cache.get(&digest) {
            return if exp + LEEWAY < now { Err(invalid("the token has expired")) } else { Ok((caller, exp)) };
        }
        let (caller, exp) = self.check(token).map_err(|refusal| match refusal {
            Refusal::Guess(why) => self.guesses.refuse(why),
            Refusal::Claims(problem) => problem,
        })?;
        let caller = Arc::new(caller);
        self.cache.put(digest, Arc::clone(&caller), exp);
        Ok((caller, exp))
    }

    fn check(&self, token: &[u8]) -> Result<(Caller, i64), Refusal> {
        let header =
            jsonwebtoken::decode_header(token).map_err(|_| Refusal::Guess("it is no JWT with an algorithm known here"))?;
        if header.crit.is_some() {
            return Err(Refusal::Guess("it has a `crit` header, which is not understood"));
        }
        let key = self.key(header.kid.as_deref())?;
        let claims: Claims = jsonwebtoken::decode(token, &key.decoding, &key.validation).map_err(|e| refusal(&e))?.claims;
        if !(0..=LAST_EXP).contains(&claims.exp) {
            return Err(invalid("`exp` is out of range").into());
        }
        if !well_formed(&claims.tenant) || !well_formed(&claims.sub) {
            return Err(invalid("`tenant` and `sub` must have 1 to 200 bytes and no control characters").into());
        }
        let scopes = claims.scope.split_ascii_whitespace().map(str::to_owned).collect();
        let issued_at = claims.iat.and_then(|iat| iat.as_i64());
        Ok((Caller { tenant: claims.tenant, subject: claims.sub, issued_at, scopes }, claims.exp))
    }

    fn key(&self, kid: Option<&str>) -> Result<&key::Verifying, Refusal> {
        let found = match kid {
            Some(kid) if kid.len() > KID_MAX => None,
            Some(kid) => self.keys.get(kid),
            None if self.keys.len() == 1 => self.keys.values().next(),
            None => return Err(Refusal::Guess("it has no `kid`, and there is not just one key")),
        };
        found.ok_or(Refusal::Guess("its `kid` is no key here"))
    }
}

/// Why a token is refused.
enum Refusal {
    /// No key here signed it; for the log.
    Guess(&'static str),
    /// A key here did, and what it says is no good: whoever had it signed may know.
    Claims(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Claims(problem)
    }
}

/// What is read of a token beyond what the library checks. Strict: an `exp` that is text or has a fraction is refused.
#[derive(Deserialize)]
struct Claims {
    exp: i64,
    sub: String,
    tenant: String,
    scope: String,
    /// Whatever it is: only a whole number is read.
    iat: Option<serde_json::Value>,
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// Whether it may be a tenant or a subject.
pub fn well_formed(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::TokenInvalid, detail)
}

fn refusal(error: &Error) -> Refusal {
    // The library looks at the claims when the signature is good: these tell nobody but the issuer's clients.
    let problem = match error.kind() {
        ErrorKind::ExpiredSignature => invalid("the token has expired"),
        ErrorKind::ImmatureSignature => invalid("the token is not valid yet (`nbf`)"),
        ErrorKind::InvalidAudience => invalid("the token is for somebody else (`aud`)"),
        ErrorKind::InvalidIssuer => invalid("the token is from somebody else (`iss`)"),
        ErrorKind::MissingRequiredClaim(claim) => invalid(format!("the token lacks `{claim}`, or it is malformed")),
        ErrorKind::InvalidClaimFormat(claim) => invalid(format!("the token's `{claim}` is malformed")),
        ErrorKind::Json(error) => invalid(format!("the claims are malformed: {}", shown(&error.to_string()))),
        ErrorKind::InvalidAlgorithm => return Refusal::Guess("its `alg` is not the one this key is for"),
        _ => return Refusal::Guess("its signature does not fit"),
    };
    Refusal::Claims(problem)
}

/// Extracts the caller; a handler that takes it answers 401 to everybody else.
#[derive(Clone, Debug)]
pub struct Authenticated(pub Arc<Caller>);

impl Deref for Authenticated {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Authenticated
where
    Arc<Verifier>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Arc::<Verifier>::from_ref(state).authenticate(&parts.headers).map(Self)
    }
}
