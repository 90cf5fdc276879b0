//! Who asks, which tenants they act for, and what they ask for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use door::auth::{Authenticated, Caller, Verifier};
use door::body;
use door::problem::{Code, Fault, Problem};
use door::scope::JOBS_ADMIN;
use serde::de::DeserializeOwned;

/// The tenant claim that means all tenants.
const ALL_TENANTS: &str = "*";

/// A caller with the scope `jobs:admin`.
pub(super) struct Admin(Arc<Caller>);

impl Admin {
    /// Who is put on record.
    pub(super) fn actor(&self) -> &str {
        &self.0.subject
    }

    /// Goes on only with a token for all tenants.
    pub(super) fn for_all_tenants(&self) -> Result<(), Problem> {
        if self.0.tenant == ALL_TENANTS {
            return Ok(());
        }
        let why = "this concerns all tenants, and the token is for one: use one whose tenant is `*`";
        Err(Problem::new(Code::ScopeMissing, why))
    }

    /// Whether what belongs to `tenant` is theirs to see.
    pub(super) fn sees(&self, tenant: &str) -> bool {
        self.0.tenant == ALL_TENANTS || self.0.tenant == tenant
    }

    /// Whether what is no tenant's own is theirs to see.
    pub(super) fn sees_all(&self) -> bool {
        self.0.tenant == ALL_TENANTS
    }

    /// The tenant to list when `asked` was given: `Ok(None)` for all; `Err` when there is nothing for them to see.
    pub(super) fn listed(&self, asked: Option<String>) -> Result<Option<String>, Nothing> {
        match asked {
            Some(tenant) if self.sees(&tenant) => Ok(Some(tenant)),
            Some(_) => Err(Nothing),
            None if self.0.tenant == ALL_TENANTS => Ok(None),
            None => Ok(Some(self.0.tenant.clone())),
        }
    }
}

/// Another tenant's things were asked for: as if there were none.
pub(super) struct Nothing;

impl<S: Send + Sync> FromRequestParts<S> for Admin
where
    Arc<Verifier>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, state).await?;
        caller.require(JOBS_ADMIN)?;
        Ok(Self(caller))
    }
}

/// What the `{...}` of an address says. Bytes that are no text name nothing, as the empty text does.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let said: Result<Path<String>, _> = Path::from_request_parts(parts, state).await;
        Ok(Self(said.map(|Path(name)| name).unwrap_or_default()))
    }
}

/// Query parameters; unknown ones and bad values are refused.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(read)| Self(read)).map_err(|error| {
            let text = error.body_text();
            let why = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, why)| why);
            Problem::new(Code::InvalidParameter, format!("a query parameter is wrong: {why}"))
        })
    }
}

/// A JSON body; an empty one counts as `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = body::read(request.into_body(), BODY_LIMIT, BODY_DEADLINE).await.map_err(|problem| match problem.code {
            Code::BodyTooLarge => Problem::new(Code::BodyTooLarge, "the body may have 16 KiB at most: shorten it"),
            _ => problem,
        })?;
        let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
        let read = serde_json::from_slice(text).map(Self);
        read.map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Problem::new(Code::InvalidParameter, format!("the body is wrong: {error}")),
            _ => Problem::new(Code::MalformedJson, format!("the body is not well-formed JSON: {error}")),
        })
    }
}

/// Notes and reasons are short, in bytes.
const BODY_LIMIT: usize = 16 << 10;

/// How long a body may take to arrive.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The longest note or reason, in bytes.
const NOTE_MAX: usize = 2000;

/// A text that people put on record under `name`, trimmed.
pub(super) fn note(name: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.len() <= NOTE_MAX {
        return Ok(text.to_owned());
    }
    Err(wrong(name, format!("`{name}` has over {NOTE_MAX} bytes: shorten it")))
}

/// A member of the body that is wrong.
pub(super) fn wrong(name: &str, detail: String) -> Problem {
    let fault = Fault { pointer: Some(format!("#/{name}")), header: None, detail: detail.clone() };
    Problem { errors: vec![fault], ..Problem::new(Code::InvalidParameter, detail) }
}
