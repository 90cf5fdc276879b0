//! Who may log in, and how much of the broker one may take.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::quoted;
use crate::doctor::finding::Finding;
use crate::doctor::rules::{GUEST_OPEN, GUEST_PASSWORD, QUEUE_TYPE_DEFAULT, USER_UNLIMITED, VHOST_CONNECTIONS, VHOST_QUEUES};
use crate::doctor::snapshot::{Snapshot, User};

pub(in crate::doctor) fn guest(seen: &Snapshot) -> Vec<Finding> {
    let remedy = "rabbitmqctl delete_user guest (make an administrator of your own first: rabbitmqctl add_user)";
    if seen.amqp.guest == Some(true) {
        let has = format!("logs in with the password `guest` at {}, over the network", seen.amqp.at);
        return vec![GUEST_OPEN.finds("user `guest`", has, remedy)];
    }
    match seen.management.users.iter().flatten().find(|user| user.name == "guest" && has_password(user, "guest")) {
        Some(_) => vec![GUEST_PASSWORD.finds("user `guest`", "has its default password", remedy)],
        None => Vec::new(),
    }
}

/// Whether this is the user's password; `false` when it cannot be told.
fn has_password(user: &User, password: &str) -> bool {
    let Some(hash) = user.password_hash.as_ref().and_then(|hash| STANDARD.decode(hash).ok()) else { return false };
    let Some((salt, digest)) = hash.split_at_checked(4) else { return false };
    let salted = [salt, password.as_bytes()].concat();
    match user.hashing_algorithm.as_str() {
        "rabbit_password_hashing_sha256" => Sha256::digest(salted).as_slice() == digest,
        "rabbit_password_hashing_sha512" => Sha512::digest(salted).as_slice() == digest,
        _ => false,
    }
}

pub(in crate::doctor) fn limits(seen: &Snapshot) -> Vec<Finding> {
    let (vhost, user) = (&seen.expected.vhost, &seen.expected.user);
    let mut found = Vec::new();
    if let Ok(limits) = &seen.management.user_limits {
        let limited = |value: &Value| value.as_object().is_some_and(|limits| !limits.is_empty());
        if !limits.iter().any(|one| one.user == *user && limited(&one.value)) {
            let remedy =
                format!(r#"rabbitmqctl set_user_limits {} '{{"max-connections": 200, "max-channels": 2000}}'"#, quoted(user));
            found.push(USER_UNLIMITED.finds(format!("user `{user}`"), "may open any number of connections and channels", remedy));
        }
    }
    let api = &seen.management;
    let object = format!("virtual host `{vhost}`");
    // The command replaces all limits: the others have to be said again.
    let more = |name: &str, value: u64| {
        let limits = api.vhost_limits.iter().flatten().flat_map(|one| &one.value);
        let mut limits: BTreeMap<&str, Value> = limits.map(|(name, value)| (name.as_str(), (*value).into())).collect();
        limits.insert(name, value.into());
        format!("rabbitmqctl set_vhost_limits -p {} '{}'", quoted(vhost), serde_json::json!(limits))
    };
    if let (Some(most), Ok(queues)) = (api.vhost_limit("max-queues"), &api.queues) {
        let there = |name: &str| queues.iter().any(|queue| queue.name == name);
        let missing = seen.expected.topology.queues.iter().filter(|queue| !there(&queue.name)).count();
        let there = u64::try_from(queues.len()).unwrap_or(u64::MAX) + api.devices.as_ref().map_or(0, |devices| devices.count);
        // The next device needs one too.
        let wanted = there + u64::try_from(missing).unwrap_or(u64::MAX) + u64::from(seen.expected.devices);
        if wanted > most {
            let has = format!("max-queues is {most}; {there} are there, and {missing} of Warren's are missing");
            found.push(VHOST_QUEUES.finds(&object, has, more("max-queues", wanted.saturating_mul(2))));
        }
    }
    let open = api.connections.as_ref().and_then(|open| u64::try_from(open.as_ref().ok()?.len()).ok());
    if let (Some(most), Some(open)) = (api.vhost_limit("max-connections"), open)
        && open.saturating_mul(10) >= most.saturating_mul(8)
    {
        let has = format!("max-connections is {most}, and {open} are open");
        found.push(VHOST_CONNECTIONS.finds(object, has, more("max-connections", most.max(open).saturating_mul(2))));
    }
    found
}

pub(in crate::doctor) fn queue_type(seen: &Snapshot) -> Vec<Finding> {
    let Ok(vhost) = &seen.management.vhost else { return Vec::new() };
    match vhost.default_queue_type.as_deref() {
        Some("quorum") | None => Vec::new(),
        Some(kind) => {
            let name = quoted(&seen.expected.vhost);
            let kind = if kind == "undefined" { "none, which means classic".to_owned() } else { format!("`{kind}`") };
            vec![QUEUE_TYPE_DEFAULT.finds(
                format!("virtual host `{}`", seen.expected.vhost),
                format!("its default queue type is {kind}"),
                format!("where others declare queues, from 3.11 on: rabbitmqctl update_vhost_metadata {name} --default-queue-type quorum"),
            )]
        }
    }
}
