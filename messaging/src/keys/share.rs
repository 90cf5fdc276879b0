//! How processes tell each other which keys they published: once a minute, over `warren.notices`, those that were seen most.
//!
//! A hub hears all of them, so that whoever asks one hub asks about all processes; a service only tells. Nothing rests on it: a notice
//! that is not heard makes a count smaller.

use std::cmp::Reverse;
use std::time::Duration;

use broker_topology::Names;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Counts, Keys};
use crate::notices;
use crate::publisher::Publisher;

/// Keys in one notice, at most.
const TOLD: usize = 128;

/// What one process published in the last minute.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    /// Who tells: a process knows its own word again.
    pub teller: String,
    /// How often, by exchange and key.
    pub keys: Counts,
}

impl Shared {
    /// A notice, if it is one of these.
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// Tells every `every`, which is [`super::MINUTE`] but in tests, what `keys` saw, until `stop`. The publisher should be one of its own: who
/// may not publish notices loses its channel.
pub async fn share(keys: Keys, teller: String, publisher: Publisher, names: Names, every: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let told = most(keys.untold(), &names.notices());
        if told.is_empty() {
            continue;
        }
        let shared = Shared { teller: teller.clone(), keys: told };
        if let Err(error) = notices::tell(&publisher, &names, notices::KIND, "/warren/keys", &shared).await {
            tracing::debug!(error = %error, "nobody hears which keys were published");
        }
    }
}

/// Those that were seen most, but for the notices themselves.
fn most(seen: Counts, notices: &str) -> Counts {
    let exchanges = seen.into_iter().filter(|(exchange, _)| exchange != notices);
    let mut all: Vec<(u64, String, String)> =
        exchanges.flat_map(|(exchange, keys)| keys.into_iter().map(move |(key, count)| (count, exchange.clone(), key))).collect();
    all.sort_unstable_by_key(|(count, _, _)| Reverse(*count));
    let mut told = Counts::new();
    for (count, exchange, key) in all.into_iter().take(TOLD) {
        told.entry(exchange).or_default().insert(key, count);
    }
    told
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn those_seen_most_are_told_and_read() {
        let mut seen = Counts::new();
        let mut saw = |exchange: &str, key: String, count| seen.entry(exchange.to_owned()).or_default().insert(key, count);
        for key in 0..128 {
            saw("a", format!("k{key}"), 1);
            saw("b", format!("k{key}"), 2);
        }
        saw("warren.notices", String::new(), 1000);
        let told = most(seen, "warren.notices");
        assert_eq!((told.len(), told["b"].len()), (1, TOLD));
        let shared = Shared { teller: "7".to_owned(), keys: told };
        assert_eq!(Shared::read(&serde_json::to_vec(&shared).unwrap()), Some(shared));
        assert_eq!(Shared::read(br#"{"from":7,"n":12,"watch":[]}"#), None);
    }
}
