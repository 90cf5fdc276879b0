//! What must fit together.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use api_ack::kinds::{JSON, is_json};
use messaging::consumer::rounds;

use super::kinds::wait;
use super::units::{show_duration, show_size};
use super::{Config, Cors, CronConfig, Fault, KindConfig, Problem, Role, Worker};

mod callbacks;
mod calls;
mod targets;

pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say = |key: &str, text: String| problems.push(Problem::new(key, None, Fault::CONFLICT, text));
    broker(config, &mut say);
    listeners(config, &mut say);
    auth(config, &mut say);
    if config.cors.credentials && config.cors.origins.iter().any(|origin| origin == Cors::ANY) {
        say("cors.credentials", "would let every page act as its visitor: name the origins instead of \"*\"".to_owned());
    }
    let limits = &config.limits;
    for (who, rate, burst) in [
        ("tenant", limits.rate_per_tenant, limits.burst_per_tenant),
        ("subject", limits.rate_per_subject, limits.burst_per_subject),
    ] {
        if burst.is_some() && rate.is_none() {
            say(&format!("limits.burst_per_{who}"), format!("limits nothing without rate_per_{who}: add that one"));
        }
    }
    if config.limits.backlog_per_tenant > config.limits.backlog_total {
        say("limits.backlog_per_tenant", "is over limits.backlog_total: lower it".to_owned());
    }
    if config.roles == [Role::Devices] && !config.devices.enabled {
        say("roles", "leaves this process nothing to do: set devices.enabled = true".to_owned());
    }
    let devices = &config.devices;
    for (tier, queue) in [("standard", devices.queue_standard), ("lite", devices.queue_lite)] {
        if queue.bytes < devices.payload {
            let most = show_size(devices.payload);
            say(
                &format!("devices.queue_{tier}.bytes"),
                format!("has no room for a message of devices.payload ({most}): raise it, or lower that one"),
            );
        }
    }
    let mut names = BTreeSet::new();
    for (index, kind) in config.kinds.iter().enumerate() {
        let key = format!("kind[{index}]");
        if !names.insert(&kind.name) {
            say(&key, format!("is a second `{}`: each kind is configured once", kind.name));
        }
        if let Some((other, route)) = config.kinds[..index].iter().find_map(|other| Some((other, shared_route(kind, other)?))) {
            say(&format!("{key}.routes"), format!("has {route}, and so has the kind `{}`: map each address once", other.name));
        }
        self::kind(config, kind, &mut |field, text| say(&format!("{key}.{field}"), text));
        calls::call(config, kind, &mut |field, text| say(&format!("{key}.{field}"), text));
        targets::target(config, kind, &mut |field, text| say(&format!("{key}.{field}"), text));
    }
    calls::destinations(config, &mut say);
    callbacks::check(config, &mut say);
    let mut names = BTreeSet::new();
    for (index, entry) in config.cron.iter().enumerate() {
        let key = format!("cron[{index}]");
        if !names.insert(&entry.name) {
            say(&key, format!("is a second `{}`: each entry has its own name", entry.name));
        }
        cron(config, entry, &mut |field, text| say(&format!("{key}.{field}"), text));
    }
    problems
}

fn cron(config: &Config, entry: &CronConfig, say: &mut impl FnMut(&str, String)) {
    let Some(kind) = config.kinds.iter().find(|kind| kind.name == entry.kind) else {
        say("kind", format!("is `{}`, which is not configured: add a [[kind]] with this name", entry.kind));
        return;
    };
    if !kind.content_types.iter().any(|one| one.0 == JSON) {
        say("kind", format!("is `{}`, which does not take {JSON}", entry.kind));
    }
    let violations = kind.schema.iter().flat_map(|file| file.schema.violations(&entry.data.json));
    if let Some(violation) = violations.into_iter().next() {
        say("data", format!("does not fit the schema of `{}`: at `#{}`: {}", entry.kind, violation.pointer, violation.why));
    }
    if entry.catch_up >= config.retention.keys {
        say("catch_up", "must be shorter than retention.keys: a tick is known by its key".to_owned());
    }
}

fn shared_route<'a>(kind: &'a KindConfig, other: &KindConfig) -> Option<&'a str> {
    kind.routes.iter().find(|route| other.routes.contains(route)).map(|route| route.0.as_str())
}

fn broker(config: &Config, say: &mut impl FnMut(&str, String)) {
    let broker = &config.broker;
    files("broker", broker, say);
    shards(config, say);
    // A name must stay within 255 bytes: prefix, `jobs.`, the kind, `.dead`, and room for what comes later.
    if broker.prefix.len() > 64 || !broker.prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        say("broker.prefix", "must be at most 64 visible ASCII characters".to_owned());
    }
}

/// Certificates and keys of the broker of `section`.
fn files(section: &str, broker: &super::Broker, say: &mut impl FnMut(&str, String)) {
    if broker.client_cert_file.is_some() != broker.client_key_file.is_some() {
        say(&format!("{section}.client_cert_file"), "and client_key_file belong together: give both or neither".to_owned());
    }
    let files = [
        ("ca_file", &broker.ca_file),
        ("client_cert_file", &broker.client_cert_file),
        ("client_key_file", &broker.client_key_file),
    ];
    for (name, path) in files.iter().filter_map(|(name, path)| Some((name, path.as_ref()?))) {
        let key = format!("{section}.{name}");
        if let Err(error) = std::fs::File::open(path) {
            say(&key, format!("cannot be read: {}: {error}", path.display()));
        }
        if !broker.urls.iter().any(super::BrokerUrl::is_tls) {
            say(&key, format!("is of no use without TLS: write `amqps` in {section}.url, or remove it"));
        }
    }
}

fn shards(config: &Config, say: &mut impl FnMut(&str, String)) {
    let broker = &config.broker;
    if !broker.shards.is_empty() && !config.devices.enabled {
        say("broker.shard", "has devices alone, and none are served: set devices.enabled = true, or remove it".to_owned());
    }
    let mut names = BTreeSet::new();
    for (index, shard) in broker.shards.iter().enumerate() {
        let key = format!("broker.shard[{index}]");
        if !names.insert(&shard.name) {
            say(&format!("{key}.name"), format!("is a second `{}`: each shard has a name of its own", shard.name));
        }
        files(&key, &broker.of_shard(shard), say);
    }
    for (key, text) in super::shard::twice(broker) {
        say(&key, format!("{text}: a shard is a broker of its own, or a virtual host of its own"));
    }
}

fn listeners(config: &Config, say: &mut impl FnMut(&str, String)) {
    let listen = &config.listen;
    let all = [("listen.public", listen.public), ("listen.admin", listen.admin), ("listen.internal", listen.internal)];
    for (index, (key, address)) in all.iter().enumerate() {
        // Port 0 is a free one each time.
        let same = all[..index].iter().find(|(_, other)| address.port() != 0 && clash(*address, *other));
        if let Some((other, _)) = same {
            say(key, format!("and {other} want the same port {}: give them different ones", address.port()));
        }
    }
    for (key, address) in &all[..2] {
        if config.auth.keys.is_empty() && !address.ip().is_loopback() {
            say(key, "opens the hub to others while there is no token key: add one [[auth.keys]], or use 127.0.0.1".to_owned());
        }
    }
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let anywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (anywhere || one.ip() == other.ip())
}

fn auth(config: &Config, say: &mut impl FnMut(&str, String)) {
    let auth = &config.auth;
    if !auth.keys.is_empty() && auth.issuer.as_ref().is_none_or(String::is_empty) {
        say("auth.issuer", "must be given beside [[auth.keys]]: the `iss` of the tokens you issue".to_owned());
    }
    let mut ids = BTreeSet::new();
    for (index, key) in auth.keys.iter().enumerate().filter(|(_, key)| !ids.insert(&key.id)) {
        say(&format!("auth.keys[{index}].id"), format!("is a second `{}`: each key has its own id", key.id));
    }
}

fn kind(config: &Config, kind: &KindConfig, say: &mut impl FnMut(&str, String)) {
    if kind.content_types.is_empty() {
        say("content_types", "is empty: name at least one, or leave it out for application/json".to_owned());
    }
    if kind.schema.is_some() && !kind.content_types.iter().any(|one| is_json(&one.0)) {
        say("schema", "is of no use: the kind takes no JSON".to_owned());
    }
    let (consumer_timeout, consuming) = (config.broker.consumer_timeout, config.consuming(kind));
    if kind.prefetch < kind.concurrency {
        say("prefetch", format!("is under concurrency ({}): some of it could never run", kind.concurrency));
    }
    if kind.timeout > kind.deadline {
        say("timeout", format!("is over the deadline ({})", show_duration(kind.deadline)));
    }
    // The last delivery prefetched waits for all that run before it, and the broker's clock runs from the first moment.
    let rounds = rounds(consuming.prefetch, consuming.concurrency.into(), kind.priority.is_some());
    let longest = consuming.attempt.saturating_mul(rounds);
    if longest >= consumer_timeout / 2 && !consuming.early {
        say(
            "prefetch",
            format!(
                "lets a delivery wait up to {} ({rounds} rounds of {}), over half of broker.consumer_timeout ({}): \
                 lower prefetch or timeout, or raise concurrency{}",
                show_duration(longest),
                if kind.http.is_some() { "twice `timeout` and 15s: a call may wait for its turn" } else { "`timeout`" },
                show_duration(consumer_timeout),
                match (kind.priority, kind.worker) {
                    // Of each five turns one may be this delivery's.
                    (Some(_), _) => "; with `priority` it is five rounds at least",
                    (None, Worker::Amqp) => "; only what the hub does itself, `rust` or `http`, may take longer",
                    (None, _) => "",
                }
            ),
        );
    }
    let retries = kind.retry.max_attempts.saturating_sub(1) as usize;
    if retries > 0 && kind.retry.delays.is_empty() {
        say("retry.delays", "is empty: give at least one delay, or write max_attempts = 1".to_owned());
        return;
    }
    let steps = kind.retry.delays.iter().chain(kind.retry.delays.last().into_iter().cycle()).take(retries);
    let total = steps.map(wait).fold(Duration::ZERO, Duration::saturating_add);
    if total > kind.deadline {
        say(
            "retry.delays",
            format!("waits {} in all, over the deadline ({})", show_duration(total), show_duration(kind.deadline)),
        );
    }
}
