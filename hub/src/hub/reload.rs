//! A new configuration for a hub that runs: taken whole, or refused whole.
//!
//! Owns the question what may change without a restart: how kinds are treated at the door and on the way (routes, media types,
//! schema, idempotency, description, window, deadline, longest wait, retention, retry policy, callback, which class is meant when none is
//! asked for), and where callbacks may go, when they are tried again and what signs them. What needs other consumers, queues, connections or
//! listeners is refused, and nothing is changed.

use api_ack::kinds::Kinds;

use super::kind_spec;
use crate::config::{Callbacks, Config, KindConfig, Priority};

/// Why a configuration is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot change while the hub runs: start it again, or put it back", .0.join(", "))]
pub struct NeedsRestart(pub Vec<String>);

/// Gives `kinds` what `new` says, if all that differs from `old` may change.
pub(super) fn reload(kinds: &Kinds, old: &Config, new: &Config) -> Result<(), NeedsRestart> {
    let (before, after) = (fixed(old), fixed(new));
    if before != after {
        return Err(NeedsRestart(differences(&before, &after)));
    }
    kinds.replace(new.kinds.iter().map(|kind| kind_spec(kind, new.consuming(kind))));
    Ok(())
}

/// The part that must stay as it is.
fn fixed(config: &Config) -> Config {
    let kinds = config.kinds.iter().map(|kind| {
        let default = KindConfig::new(kind.name.clone());
        KindConfig {
            routes: default.routes,
            content_types: default.content_types,
            schema: default.schema,
            description: default.description,
            idempotency: default.idempotency,
            // With it or without it are other queues.
            priority: kind.priority.map(|_| Priority::Normal),
            window: default.window,
            deadline: default.deadline,
            retention: default.retention,
            max_wait: default.max_wait,
            retry: default.retry,
            callback: default.callback,
            ..kind.clone()
        }
    });
    let callbacks = Callbacks {
        allow_http: false,
        ports: Vec::new(),
        allow_networks: Vec::new(),
        delays: Vec::new(),
        ..config.callbacks.clone()
    };
    Config { kinds: kinds.collect(), callbacks, callback_secrets: Vec::new(), ..config.clone() }
}

/// The keys that differ, as they are shown: a secret that changed is not told apart, and so a whole is named.
fn differences(before: &Config, after: &Config) -> Vec<String> {
    let read = |config: &Config| config.dump().parse::<toml::Table>().unwrap_or_default();
    let mut found = Vec::new();
    walk("", &toml::Value::Table(read(before)), &toml::Value::Table(read(after)), &mut found);
    if found.is_empty() {
        found.push("a secret or a file it is read from".to_owned());
    }
    found
}

fn walk(path: &str, before: &toml::Value, after: &toml::Value, found: &mut Vec<String>) {
    use toml::Value::{Array, Table};
    match (before, after) {
        _ if before == after => {}
        (Table(one), Table(other)) => {
            let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match (one.get(key), other.get(key)) {
                    (Some(one), Some(other)) => walk(&full, one, other, found),
                    _ => found.push(full),
                }
            }
        }
        (Array(one), Array(other)) if one.len() == other.len() && one.iter().all(toml::Value::is_table) => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                walk(&format!("{path}[{index}]"), one, other, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}
