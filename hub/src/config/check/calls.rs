//! What must fit together about calls and their destinations.

use std::collections::BTreeSet;

use crate::config::units::show_duration;
use crate::config::{Config, HttpCall, KindConfig, Worker};

/// One kind, with `say` for its keys.
pub(super) fn call(config: &Config, kind: &KindConfig, say: &mut impl FnMut(&str, String)) {
    let call = match (kind.worker, &kind.http) {
        (Worker::Http, Some(call)) => call,
        (Worker::Http, None) => {
            return say("http", "is missing: add [kind.http] with the `url` to call".to_owned());
        }
        (_, Some(_)) => return say("http", "is of no use with this worker: write worker = \"http\", or remove it".to_owned()),
        (_, None) => return,
    };
    let configured = config.destinations.iter().any(|destination| destination.name == call.destination);
    if !configured && call.destination != call.origin() {
        say("http.destination", format!("names `{}`, which is no [[destination]]: add one of this name", call.destination));
    }
    if call.destination.len() > 255 {
        say("http.url", "has a host that is too long: name its [[destination]] with 255 bytes at most".to_owned());
    }
    let Some(rate) = config.destination(call).rate else { return };
    if rate.interval() > kind.timeout {
        let interval = show_duration(rate.interval());
        say("timeout", format!("is under the {interval} from one call to the next ({rate}): raise it, or the rate"));
    }
}

/// All destinations.
pub(super) fn destinations(config: &Config, say: &mut impl FnMut(&str, String)) {
    let calls: Vec<&HttpCall> = config.kinds.iter().filter_map(|kind| kind.http.as_ref()).collect();
    let mut names = BTreeSet::new();
    for (index, destination) in config.destinations.iter().enumerate() {
        let key = format!("destination[{index}]");
        if !names.insert(&destination.name) {
            say(&key, format!("is a second `{}`: each destination is configured once", destination.name));
        }
        let of: Vec<&&HttpCall> = calls.iter().filter(|call| call.destination == destination.name).collect();
        if of.is_empty() {
            let why = "is no kind's: write the name in `http.destination` of a kind, or scheme, host and port of its url";
            say(&format!("{key}.name"), format!("`{}` {why}", destination.name));
        }
        let Some(path) = &destination.ca_file else { continue };
        let key = format!("{key}.ca_file");
        match std::fs::read(path) {
            Err(error) => say(&key, format!("cannot be read: {}: {error}", path.display())),
            Ok(text) => match reqwest::Certificate::from_pem_bundle(&text) {
                Ok(found) if !found.is_empty() => {}
                _ => say(&key, format!("holds no certificate in PEM: {}", path.display())),
            },
        }
        if !of.iter().any(|call| call.url.scheme() == "https") {
            say(&key, "is of no use without TLS: write `https` in the url of its kinds, or remove it".to_owned());
        }
    }
}
