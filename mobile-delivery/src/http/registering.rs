//! `PUT /v1/devices/{id}`: a device is what was said about it last.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use database::clock;
use door::auth::Authenticated;
use door::problem::{Code, Document, Problem, shown};
use door::scope::DEVICES_WRITE;
use door::{body, header, media};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::caller::id_of;
use super::refusals::{no_tokens, token};
use super::view::{AtBroker, DeviceLinks, Said};
use super::{Api, refusals};
use crate::store::{Hash, Put, RECIPIENTS, Registration, Tier, Via};
use crate::tokens::{Token, Tokens};

/// The largest registration, in bytes: all groups and labels there may be fit in.
pub(super) const BODY: usize = 64 << 10;

/// What is said about a device, in full: what is left out is none, but for its groups.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Registration, example = json!({"user": "ada", "groups": ["beta"], "labels": {"os": "android"}}))]
pub(super) struct Wanted {
    /// Who uses it: 1 to 128 bytes without control characters. A user has 100 devices at most.
    user: String,
    /// Groups it is in, up to 64, each `[a-z0-9][a-z0-9_-]{0,62}`. Left out, a device that is registered stays in its groups.
    #[serde(default)]
    groups: Option<BTreeSet<String>>,
    /// Up to 16 labels: names of 1 to 63 bytes without `=`, values of up to 128.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// `standard` (messages wait 28 days unless they say) or `lite` (3 days); `standard` by default.
    #[serde(default)]
    tier: Option<String>,
    /// Who hands it its messages: `hub`, which is the default, or the broker over `amqp` or `mqtt`. It stays what it was first.
    #[serde(default)]
    via: Option<String>,
}

/// What else is asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// `true`: give the device a new refresh token, whatever it had, and let it in again if it was revoked.
    #[serde(default)]
    rotate: bool,
}

/// A device as it was said, with what it shows to be let in.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Registered)]
pub(super) struct RegisteredView {
    #[serde(flatten)]
    said: Said,
    #[serde(flatten)]
    tokens: TokensView,
    /// Where its messages are, if the broker hands them out.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<AtBroker>,
    /// Addresses.
    links: DeviceLinks,
}

/// What a device shows to be let in.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DeviceTokens)]
pub(super) struct TokensView {
    /// The device's token, a JWT with the scope `device`; absent where the hub has no key to sign with, and for a revoked device.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Seconds for which it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 3600)]
    token_expires_in: Option<u64>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    token_expires_at: Option<Timestamp>,
    /// For the next token: to be stored by the device, and shown once. Only where one was made: of a new device, or when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

impl TokensView {
    pub(super) fn of(token: Option<Token>, refresh_token: Option<String>) -> Self {
        let expires_in = token.as_ref().map(|token| token.expires_in);
        let expires_at = expires_in.map(|seconds| {
            let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            clock::timestamp(clock::now().saturating_add(micros))
        });
        Self { token: token.map(|token| token.text), token_expires_in: expires_in, token_expires_at: expires_at, refresh_token }
    }
}

/// Register a device
///
/// The full state, and the same again changes nothing. A new device gets a refresh token; if that answer was lost, ask for another
/// with `rotate`. Hand both tokens to the device: it needs no other secret.
#[utoipa::path(
    put,
    path = "/v1/devices/{id}",
    tag = "devices",
    security(("token" = ["devices:write"])),
    params(("id" = String, Path, description = "the device's id: `[a-z0-9][a-z0-9_-]{0,62}`", example = "pixel-7"), Asked),
    request_body(content = Wanted, content_type = "application/json"),
    responses(
        (status = 200, description = "the device was there, and is as it was said", body = RegisteredView),
        (status = 201, description = "the device is new", body = RegisteredView),
        (status = 400, description = "invalid-device, invalid-parameter, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet, refused",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found: it was removed while it was registered", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "too-many-devices: of the user; via-differs", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type, unsupported-content-encoding",
            body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 501, description = "no-tokens: asked to rotate, and the hub has no key to sign with", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<impl IntoResponse, Problem> {
    caller.require(DEVICES_WRITE)?;
    let standing = api.rates().take(&caller)?;
    header::refuse_but(&headers, &[])?;
    let id = id_of(id)?;
    let Query(Asked { rotate }) = asked.map_err(|error| parameter(&error))?;
    let tokens = api.parts().tokens.as_ref();
    if rotate && tokens.is_none() {
        return Err(no_tokens());
    }
    media::content_type(&headers, &[media::JSON])?;
    body::check_encoding(&headers)?;
    let sent = body::read(sent, BODY, api.options().body_deadline).await?;
    let (registration, keeps_groups) = registration(&caller.tenant, id, &sent)?;
    if registration.via.is_broker() && api.parts().broker.is_none() {
        let detail = "this hub lets no devices into the broker: set `devices.broker_auth`, or leave `via` out";
        return Err(Problem::new(Code::InvalidDevice, detail).pointer("/via", "must be `hub` here"));
    }

    let devices = &api.parts().devices;
    let put = match keeps_groups {
        true => devices.put_in_its_groups(&registration, clock::now()).await,
        false => devices.put(&registration, clock::now()).await,
    };
    let (device, made) = match put.map_err(refusals::registration)? {
        Put::Done { device, made } => (device, made),
        Put::Full => {
            let detail = format!("the user has {RECIPIENTS} devices: remove one that is not used any more first");
            return Err(Problem::new(Code::TooManyDevices, detail).pointer("/user", "has too many devices"));
        }
        Put::Crowded(group) => return Err(refusals::crowded(&group).pointer("/groups", "has one that is full")),
        Put::Via(via) => {
            let via = via.name();
            let detail = format!("the device was registered with `via` = `{via}`: say so, or remove it and register it anew");
            return Err(Problem::new(Code::ViaDiffers, detail).pointer("/via", format!("must be `{via}`")));
        }
    };
    let id = registration.id.as_str();
    let found = match made {
        true => None,
        false => Some(devices.get(&caller.tenant, id).await?.ok_or_else(|| refusals::no_device(id))?),
    };
    // It goes by its groups and labels as they were until it has looked.
    if let Some(session) = found.as_ref().and_then(|found| found.session) {
        api.parts().follow.put_out(device, &session);
    }
    let tokens = match tokens {
        None => TokensView::of(None, None),
        // Should this process die before the credential is there, the device is made without one, and `rotate` gives it one.
        Some(tokens) if made || rotate => {
            let first = Tokens::first(id)?;
            if !devices.credit(device, Hash::of(&first), clock::now()).await? {
                return Err(refusals::no_device(id));
            }
            TokensView::of(Some(token(tokens, &caller.tenant, id)?), Some(first))
        }
        Some(tokens) => {
            let is_let_in = found.as_ref().is_none_or(|found| found.revoked_at.is_none());
            let token = is_let_in.then(|| token(tokens, &caller.tenant, id)).transpose()?;
            TokensView::of(token, None)
        }
    };
    let (status, counter) =
        if made { (StatusCode::CREATED, &api.metrics().made) } else { (StatusCode::OK, &api.metrics().changed) };
    counter.inc();
    let links = DeviceLinks::of(id);
    // A queue keeps the tier that it was made with.
    let tier = found.as_ref().map_or(registration.tier, |found| match found.registration.via {
        Via::Amqp => found.queue_tier,
        Via::Hub | Via::Mqtt => registration.tier,
    });
    let broker = AtBroker::of(api.parts().broker.as_ref(), device, tier, &registration);
    let said = Said::of(found.map_or(registration, |found| found.registration));
    let answer = RegisteredView { said, tokens, broker, links };
    let mut response = (status, [(CACHE_CONTROL, "no-store")], Json(answer)).into_response();
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    Ok(response)
}

/// A query that cannot be read.
pub(super) fn parameter(error: &QueryRejection) -> Problem {
    let text = error.body_text();
    let why = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, why)| why);
    Problem::new(Code::InvalidParameter, format!("a query parameter is wrong: {}", shown(why)))
}

/// What the body says, if it keeps to the rules; and whether it leaves the groups as they are.
fn registration(tenant: &str, id: String, sent: &[u8]) -> Result<(Registration, bool), Problem> {
    // An object first: a list would do for a struct.
    let members: Value = body::parse(sent)?;
    let read = serde_json::from_value(members).and_then(|members: Map<String, Value>| serde_json::from_value(members.into()));
    let Wanted { user, groups, labels, tier, via } = read.map_err(|error: serde_json::Error| {
        let detail = format!(
            "send `{{\"user\": \"...\"}}`, and `groups`, `labels`, `tier`, `via` if wanted: {}",
            shown(&error.to_string())
        );
        Problem::new(Code::InvalidDevice, detail)
    })?;
    let tier = tier.as_deref().map_or(Some(Tier::Standard), Tier::named).ok_or_else(|| {
        Problem::new(Code::InvalidDevice, "`tier` must be `standard` or `lite`").pointer("/tier", "must be `standard` or `lite`")
    })?;
    let via = via.as_deref().map_or(Some(Via::Hub), Via::named).ok_or_else(|| {
        let must = "must be `hub`, `amqp` or `mqtt`";
        Problem::new(Code::InvalidDevice, format!("`via` {must}")).pointer("/via", must)
    })?;
    let keeps_groups = groups.is_none();
    let groups = groups.unwrap_or_default();
    let registration = Registration { tenant: tenant.to_owned(), id, user, groups, labels, tier, via };
    registration
        .check()
        .map_err(|error| Problem::new(Code::InvalidDevice, error.to_string()).pointer(&format!("/{}", error.field), error.why))?;
    Ok((registration, keeps_groups))
}
