//! Which devices are meant: by name, by number, or by what they have in common.

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::client::{Denied, Hub};
use super::super::failure::Failure;
use super::super::print::{self, talk};

/// What narrows devices down; all of it must hold.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only this user's; with a token for all tenants, add --tenant
    #[arg(long)]
    user: Option<String>,
    /// Only those in this group; likewise
    #[arg(long)]
    group: Option<String>,
    /// Only those with this label; likewise
    #[arg(long, value_name = "NAME=VALUE")]
    label: Option<String>,
    /// Only those that are online, or offline
    #[arg(long, value_parser = ["online", "offline"])]
    presence: Option<String>,
    /// Only those with at least so many messages to get
    #[arg(long, value_name = "MESSAGES")]
    backlog: Option<i64>,
}

impl Which {
    /// As the hub is asked.
    pub(super) fn query(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("tenant", self.tenant.clone()),
            ("user", self.user.clone()),
            ("group", self.group.clone()),
            ("label", self.label.clone()),
            ("presence", self.presence.clone()),
            ("backlog", self.backlog.map(|least| least.to_string())),
        ]
    }
}

/// The tenant and the id in `<tenant>/<id>`; an id has no slash.
pub(super) fn whose(device: &str) -> Result<(String, String), Failure> {
    match device.rsplit_once('/') {
        Some((tenant, id)) if !tenant.is_empty() && !id.is_empty() => Ok((tenant.to_owned(), id.to_owned())),
        _ => Err(Failure::usage(format!("`{device}` is no device: write it as <tenant>/<id>, as in acme/pixel-7"))),
    }
}

/// The address of a device that is named, or that a queue is named by.
pub(super) fn path(device: &str) -> Result<Vec<String>, Failure> {
    let number =
        device.rsplit('.').next().filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    match number {
        Some(number) if !device.contains('/') => Ok(vec!["devices".to_owned(), number.to_owned()]),
        _ => {
            let (tenant, id) = whose(device)?;
            Ok(vec!["devices".to_owned(), tenant, id])
        }
    }
}

/// Asks for the same of each device. One that is refused does not keep the others from being asked for.
pub(super) async fn each<T: DeserializeOwned + Serialize>(
    hub: &Hub,
    devices: &[String],
    verb: &str,
    order: &Value,
    json: bool,
    told: impl Fn(&T) -> String,
) -> Result<(), Failure> {
    let whose = devices.iter().map(|device| whose(device)).collect::<Result<Vec<_>, _>>()?;
    let (mut done, mut refused, mut broken) = (Vec::<T>::new(), 0, None);
    for ((tenant, id), device) in whose.iter().zip(devices) {
        match hub.post::<T>(&["devices", tenant, id, verb], order.clone()).await {
            Ok(answer) => {
                if !json {
                    talk(&print::shown(&format!("{device}: {}", told(&answer))));
                }
                done.push(answer);
            }
            Err(Denied::Refused(why)) => {
                talk(&format!("warren: {}: {why}", print::shown(device)));
                refused += 1;
            }
            Err(Denied::Broken(failure)) => {
                broken = Some(failure);
                break;
            }
        }
    }
    if json {
        print::json(&json!({ "items": done }))?;
    }
    match broken {
        Some(failure) => Err(failure),
        None if refused > 0 => {
            Err(Failure::failed(format!("{refused} of {} were refused, for the reasons above", devices.len())))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_device_is_named_by_its_tenant_and_id_or_by_its_queue() {
        assert_eq!(path("acme/pixel-7").unwrap(), ["devices", "acme", "pixel-7"]);
        assert_eq!(path("a/b/77").unwrap(), ["devices", "a/b", "77"]);
        assert_eq!(path("device.standard.4711").unwrap(), ["devices", "4711"]);
        assert_eq!(path("4711").unwrap(), ["devices", "4711"]);
        for bad in ["pixel-7", "/pixel-7", "acme/", "device.standard.", ""] {
            let text = path(bad).unwrap_err().to_string();
            assert!(text.contains("acme/pixel-7"), "{bad}: {text}");
        }
        assert!(whose("4711").is_err(), "what changes something names its device");
    }
}
