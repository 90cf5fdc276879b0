//! Devices: looked at, emptied, put out, let in.
//!
//! A device is named by its tenant and its id, or by the number that its queue has. What is done to one is in the log, with who did it and why; its messages say
//! themselves, in their receipts, that they were purged.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use broker_topology::Names;
use door::problem::{Code, Problem, shown};
use mobile_delivery::lane::{mqtt_queue, queue_of};
use mobile_delivery::operating::Operating;
use mobile_delivery::store::{Device, Filter, Limit, MAIN, Number, Order, Presence, Temperature, Via};
use serde::Deserialize;

use super::AdminApi;
use super::caller::{Admin, Body, Named, Parameters, note, wrong};
use super::view::{DeviceCredentials, DeviceDetail, DeviceLine, DevicePage, GapLine, Kicked, Purged};

/// Devices of a page, unless asked otherwise.
const PAGE: u32 = 50;
/// At most.
const PAGE_MAX: u32 = 500;
/// Devices a page looks at, at most.
const SCAN: u32 = 5000;
/// Of what waits for a device, as much is shown.
const SHOWN: Limit = Limit { messages: 20, bytes: 1 << 20 };

/// Devices, where this process serves them.
#[derive(Clone)]
pub struct DevicesAdmin {
    /// What is done to them.
    pub operating: Operating,
    /// Names on this broker.
    pub names: Names,
}

/// The tenant and the id that an address names. Bytes that are no text name nothing.
pub(super) struct NamedOf(String, String);

impl<S: Send + Sync> FromRequestParts<S> for NamedOf {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let said: Result<Path<(String, String)>, _> = Path::from_request_parts(parts, state).await;
        let (tenant, id) = said.map(|Path(named)| named).unwrap_or_default();
        Ok(Self(tenant, id))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListDevices {
    tenant: Option<String>,
    user: Option<String>,
    group: Option<String>,
    label: Option<String>,
    presence: Option<String>,
    backlog: Option<i64>,
    /// `messages`, `bytes` or `age`; by registration unless asked.
    order: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(api): State<AdminApi>,
    admin: Admin,
    Parameters(asked): Parameters<ListDevices>,
) -> Result<Json<DevicePage>, Problem> {
    let devices = &served(&api)?.operating.stores().devices;
    let Ok(tenant) = admin.listed(asked.tenant.clone()) else {
        return Ok(Json(DevicePage { items: Vec::new(), next: None }));
    };
    let page = devices.list(&filter(tenant, asked)?).await?;
    let numbers: Vec<Number> = page.devices.iter().map(|device| device.number).collect();
    let since: HashMap<_, _> = devices.waiting_since(&numbers).await?.into_iter().collect();
    let line = |device: Device| {
        let since = since.get(&device.number).copied();
        DeviceLine::of(device, since)
    };
    Ok(Json(DevicePage { items: page.devices.into_iter().map(line).collect(), next: page.next.map(|after| after.to_string()) }))
}

fn filter(tenant: Option<String>, asked: ListDevices) -> Result<Filter, Problem> {
    let wrong = |detail: &str| Problem::new(Code::InvalidParameter, detail.to_owned());
    if tenant.is_none() && (asked.user.is_some() || asked.group.is_some() || asked.label.is_some()) {
        return Err(wrong("users, groups and labels are each tenant's own: name a `tenant` beside them"));
    }
    let label = match asked.label {
        None => None,
        Some(text) => match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => return Err(wrong("`label` must be a name and a value, as in `os=android`")),
        },
    };
    let presence = match asked.presence.as_deref() {
        None => None,
        Some("online") => Some(Presence::Online),
        Some("offline") => Some(Presence::Offline),
        Some(_) => return Err(wrong("`presence` must be `online` or `offline`")),
    };
    let order = match asked.order.as_deref() {
        None => Order::Registered,
        Some("messages") => Order::Messages,
        Some("bytes") => Order::Bytes,
        Some("age") => Order::Age,
        Some(_) => return Err(wrong("`order` must be `messages`, `bytes` or `age`; left out it is by registration")),
    };
    let after = asked
        .cursor
        .map(|cursor| order.after(&cursor).ok_or_else(|| wrong("`cursor` is not the `next` of a page in this order")));
    Ok(Filter {
        tenant,
        user: asked.user,
        group: asked.group,
        label,
        presence,
        backlog: asked.backlog,
        order,
        after: after.transpose()?,
        limit: asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX),
        scan: SCAN,
    })
}

pub(super) async fn show(
    State(api): State<AdminApi>,
    admin: Admin,
    NamedOf(tenant, id): NamedOf,
) -> Result<Json<DeviceDetail>, Problem> {
    let device = find(&api, &admin, &tenant, &id).await?;
    detail(served(&api)?, device).await
}

/// By its number, as its queue says it.
pub(super) async fn numbered(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(number): Named,
) -> Result<Json<DeviceDetail>, Problem> {
    let devices = served(&api)?;
    let found = match number.parse() {
        Ok(number) => devices.operating.stores().devices.numbered(Number(number)).await?,
        Err(_) => None,
    };
    let device = found.filter(|device| admin.sees(&device.registration.tenant)).ok_or_else(|| {
        let number = shown(&number);
        Problem::new(Code::DeviceNotFound, format!("there is no device with the number {number}, or it was removed"))
    })?;
    detail(devices, device).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purge {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn purge(
    State(api): State<AdminApi>,
    admin: Admin,
    NamedOf(tenant, id): NamedOf,
    Body(asked): Body<Purge>,
) -> Result<Json<Purged>, Problem> {
    let reason = note("reason", &asked.reason)?;
    if reason.is_empty() && !asked.dry_run {
        return Err(wrong("reason", "give a `reason`: it is kept in the log".to_owned()));
    }
    let device = find(&api, &admin, &tenant, &id).await?;
    if asked.dry_run {
        let messages = device.backlog;
        return Ok(Json(Purged { messages, dry_run: true, device: line(&api, device).await? }));
    }
    let number = device.number;
    let messages = served(&api)?.operating.purge(device).await?;
    tracing::info!(
        device.number = number.0,
        tenant,
        messages,
        actor = admin.actor(),
        reason,
        "the backlog of a device was purged"
    );
    let device = stands(&api, &tenant, &id).await?;
    Ok(Json(Purged { messages: messages.into(), dry_run: false, device }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kick {
    #[serde(default)]
    note: String,
    #[serde(default)]
    revoke: bool,
}

pub(super) async fn kick(
    State(api): State<AdminApi>,
    admin: Admin,
    NamedOf(tenant, id): NamedOf,
    Body(asked): Body<Kick>,
) -> Result<Json<Kicked>, Problem> {
    let text = note("note", &asked.note)?;
    let device = find(&api, &admin, &tenant, &id).await?;
    let operating = &served(&api)?.operating;
    let session = match asked.revoke {
        true => operating.revoke(&device).await?,
        false if operating.kick(&device).await? => device.session,
        false => None,
    };
    let (number, session) = (device.number.0, session.map(|session| session.id));
    tracing::info!(
        device.number = number,
        tenant,
        revoked = asked.revoke,
        actor = admin.actor(),
        note = text,
        "a device was put out"
    );
    Ok(Json(Kicked { session, device: stands(&api, &tenant, &id).await? }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MakeToken {
    #[serde(default)]
    rotate: bool,
}

pub(super) async fn token(
    State(api): State<AdminApi>,
    admin: Admin,
    NamedOf(tenant, id): NamedOf,
    Body(asked): Body<MakeToken>,
) -> Result<impl IntoResponse, Problem> {
    let device = find(&api, &admin, &tenant, &id).await?;
    let made = served(&api)?.operating.token(&device, asked.rotate).await?;
    let (number, tenant) = (device.number.0, &device.registration.tenant);
    tracing::info!(
        device.number = number,
        tenant,
        rotated = asked.rotate,
        actor = admin.actor(),
        "a token was made for a device"
    );
    let answer =
        DeviceCredentials { token: made.token.text, token_expires_in: made.token.expires_in, refresh_token: made.refresh_token };
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)))
}

fn served(api: &AdminApi) -> Result<&DevicesAdmin, Problem> {
    let why =
        "this process serves no devices: ask one that has the role `devices`, in a deployment with `devices.enabled = true`";
    api.devices.as_ref().ok_or_else(|| Problem::new(Code::DevicesNotServed, why))
}

/// The device, if there is one and it is theirs to see.
async fn find(api: &AdminApi, admin: &Admin, tenant: &str, id: &str) -> Result<Device, Problem> {
    let devices = &served(api)?.operating.stores().devices;
    let found = if admin.sees(tenant) { devices.get(tenant, id).await? } else { None };
    found.ok_or_else(|| {
        let (tenant, id) = (shown(tenant), shown(id));
        Problem::new(Code::DeviceNotFound, format!("the tenant `{tenant}` has no device `{id}`, or it was removed"))
    })
}

/// A device as it is now.
async fn stands(api: &AdminApi, tenant: &str, id: &str) -> Result<DeviceLine, Problem> {
    let found = served(api)?.operating.stores().devices.get(tenant, id).await?;
    let device = found.ok_or_else(|| Problem::new(Code::DeviceNotFound, "the device was removed meanwhile"))?;
    line(api, device).await
}

async fn line(api: &AdminApi, device: Device) -> Result<DeviceLine, Problem> {
    let since = served(api)?.operating.stores().devices.waiting_since(&[device.number]).await?;
    Ok(DeviceLine::of(device, since.first().map(|(_, since)| *since)))
}

async fn detail(devices: &DevicesAdmin, device: Device) -> Result<Json<DeviceDetail>, Problem> {
    let since = devices.operating.stores().devices.waiting_since(&[device.number]).await?;
    let pending = devices.operating.waiting(&device, SHOWN).await?;
    let has_queue = device.temperature != Temperature::Cold;
    let said = device.registration.clone();
    let queue = || match said.via {
        Via::Hub | Via::Amqp => devices.names.device_queue(queue_of(device.number, device.queue_tier)),
        Via::Mqtt => mqtt_queue(&said.tenant, &said.id),
    };
    Ok(Json(DeviceDetail {
        queue: has_queue.then(queue),
        shard: Some(device.queue_shard.clone()).filter(|shard| has_queue && shard != MAIN),
        groups: said.groups,
        labels: said.labels,
        seq: device.seq,
        session: device.session.map(|session| session.id),
        created_at: database::clock::timestamp(device.created_at),
        updated_at: database::clock::timestamp(device.updated_at),
        gap: pending.gap.map(|gap| GapLine { number: gap.number, reason: gap.reason.name().to_owned(), count: gap.count }),
        waiting: pending.messages.into_iter().map(Into::into).collect(),
        device: DeviceLine::of(device, since.first().map(|(_, since)| *since)),
    }))
}
