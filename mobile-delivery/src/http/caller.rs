//! Who asks: a back end with a scope, or a device that acts as itself.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use database::clock;
use door::auth::Caller;
use door::problem::{Code, Problem};
use door::scope::DEVICE;

use super::refusals::{no_device, revoked};
use crate::store::{Device, DeviceStore, check_group, check_id};

/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 30;

/// The device that a caller with the scope `device` is. For whatever lets devices in, at the time it does: a token is good for an
/// hour, and its device may be revoked or removed meanwhile.
///
/// # Errors
/// `scope-missing` without the scope; `token-invalid` for a token that is older than the device, and so was another's of that
/// id, or than its last revocation, which it does not survive; `device-not-found`, `device-revoked`, `store-unavailable`.
pub async fn admit(devices: &dyn DeviceStore, caller: &Caller) -> Result<Device, Problem> {
    caller.require(DEVICE)?;
    let device = devices.get(&caller.tenant, &caller.subject).await?.ok_or_else(|| no_device(&caller.subject))?;
    let registered = clock::timestamp(device.created_at).as_second();
    if caller.issued_at.is_some_and(|issued| issued + LEEWAY < registered) {
        let detail =
            "the token is from before the device was registered: get another with the refresh token of this registration";
        return Err(Problem::new(Code::TokenInvalid, detail));
    }
    // To the second, as tokens say it. A clock that goes behind costs a token that was just made, and the next one is good.
    let since = device.tokens_since.map(|since| clock::timestamp(since).as_second());
    if since.zip(caller.issued_at).is_some_and(|(since, issued)| issued < since) {
        let detail = "the token is from before the device was revoked: get another with the newest refresh token";
        return Err(Problem::new(Code::TokenInvalid, detail));
    }
    match device.revoked_at {
        Some(_) => Err(revoked(&caller.subject)),
        None => Ok(device),
    }
}

/// Lets a caller with `scope` in, and the device `id` itself; `Some` when it is that.
pub(super) async fn as_itself_or(
    devices: &dyn DeviceStore,
    caller: &Caller,
    scope: &'static str,
    id: &str,
) -> Result<Option<Device>, Problem> {
    if caller.has(scope) {
        return Ok(None);
    }
    if !caller.has(DEVICE) {
        caller.require(scope)?;
    }
    if caller.subject != id {
        let detail = format!("a device's token is good for that device alone: others need a token with the scope `{scope}`");
        return Err(Problem::new(Code::ScopeMissing, detail));
    }
    admit(devices, caller).await.map(Some)
}

/// The device's id in an address.
pub(super) fn id_of(id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    match check_id(&id) {
        Ok(()) => Ok(id),
        Err(error) => Err(Problem::new(Code::InvalidDevice, error.to_string())),
    }
}

/// The group in an address.
pub(crate) fn group_of(group: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let group = group.map(|Path(group)| group).unwrap_or_default();
    match check_group(&group) {
        Ok(()) => Ok(group),
        Err(error) => Err(Problem::new(Code::InvalidGroup, error.to_string())),
    }
}
