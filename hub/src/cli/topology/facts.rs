//! What a plan has to know before something goes: what the broker says of the queues just now, and what a hub says of jobs and keys.

use std::collections::{BTreeMap, BTreeSet};

use broker_topology::{Action, Facts, Kind, Look, Names, Pending, SeenKey};
use jiff::Timestamp;
use messaging::apply::{self, Sight};
use serde::Deserialize;
use tokio::time::Instant;

use super::broker::{Compared, session};
use crate::admin::topology::{KINDS, SeenKeys};
use crate::cli::Surroundings;
use crate::cli::client::{Hub, Reach};
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::management::Management;
use crate::topology::figures;

/// Asks, if anything would go; what could not be asked is put down in the plan as not seen.
pub(super) async fn gather(compared: &mut Compared, config: &Config, reach: &Reach, around: &Surroundings) -> Facts {
    if !compared.plan.steps.iter().any(|step| step.action == Action::Remove) {
        return Facts::default();
    }
    let queues: Vec<String> = compared.plan.queues_to_go().map(str::to_owned).collect();
    let mut facts = Facts::default();
    let mut unseen = Vec::new();
    if let Some(management) = compared.management.as_ref().filter(|_| !queues.is_empty()) {
        facts.looks = look(config, management, &queues, &mut unseen).await;
    }
    compared.plan.unseen.append(&mut unseen);
    let names = Names::new(&config.broker.prefix);
    let kinds: BTreeSet<Kind> = queues.iter().filter_map(|queue| names.kind_of_work_queue(queue)).collect();
    match ask(reach, around, &Vec::from_iter(kinds)).await {
        Ok((pending, keys)) => {
            let (keys, short) = keys.known(Timestamp::now());
            compared.plan.unseen.extend(short);
            (facts.pending, facts.keys) = (Some(pending), Some(keys));
        }
        Err(failure) => {
            compared
                .plan
                .unseen
                .push(format!("which jobs wait for what goes, and which keys are published: {}", failure.sentence()));
        }
    }
    facts
}

/// What is in each of them; what could not be looked at is told in `unseen`, and is `None` in the look.
async fn look(config: &Config, management: &Management, queues: &[String], unseen: &mut Vec<String>) -> BTreeMap<String, Look> {
    let mut told = |what: &str, why: &str| unseen.push(format!("{what}: {why}"));
    let held = figures::held(management, queues, Instant::now() + figures::FIRST).await;
    let held = held.map_err(|why| told("how many messages queues hold that are not ready", &why)).ok();
    let sights = sights(config, queues).await;
    let sights = sights.map_err(|failure| told("how deep queues are just now", failure.sentence())).unwrap_or_default();
    let mut sights = queues.iter().zip(sights).collect::<BTreeMap<_, _>>();
    let look = |queue: &String| {
        let look = match &held {
            // Gone meanwhile.
            Some(held) if !held.contains_key(queue) => Look { ready: Some(0), held: Some(0), consumers: Some(0) },
            held => {
                let held = held.as_ref().and_then(|held| *held.get(queue)?);
                match sights.remove(queue) {
                    Some(Sight::There(look)) => {
                        Look { ready: Some(look.ready.into()), held, consumers: Some(look.consumers.into()) }
                    }
                    Some(Sight::Kept(why)) => {
                        told(&format!("queue {queue}"), &why);
                        Look { held, ..Look::default() }
                    }
                    Some(Sight::Missing) | None => Look { held, ..Look::default() },
                }
            }
        };
        (queue.clone(), look)
    };
    queues.iter().map(look).collect()
}

async fn sights(config: &Config, queues: &[String]) -> Result<Vec<Sight>, Failure> {
    let amqp = session(config).await?;
    let sights = apply::sight(&amqp.link, queues).await;
    amqp.close().await;
    sights.map_err(|error| Failure::failed(error.to_string()))
}

/// What a hub says of keys.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Since(SeenKeys),
    /// An older hub does not say since when.
    Bare(Vec<SeenKey>),
}

impl Told {
    /// The keys; and a sentence, when they are not those of a whole hour.
    fn known(self, now: Timestamp) -> (Vec<SeenKey>, Option<String>) {
        const MISSED: &str = "one that is published less often may not be among them";
        let (since, keys) = match self {
            Self::Since(SeenKeys { since, keys }) => (since, keys),
            Self::Bare(keys) => {
                let short = format!("this hub does not say for how long it has known keys: {MISSED}; a newer one does");
                return (keys, Some(short));
            }
        };
        let minutes = now.duration_since(since).as_mins();
        // An hour, but for the way here and a clock that differs a little.
        let short = (minutes < 59).then(|| format!("keys are known for {} min only: {MISSED}", minutes.max(0)));
        (keys, short)
    }
}

async fn ask(reach: &Reach, around: &Surroundings, kinds: &[Kind]) -> Result<(BTreeMap<String, Pending>, Told), Failure> {
    let hub: Hub = reach.hub(around)?;
    let keys: Told = hub.get(&["topology", "keys"], &[]).await?;
    let mut pending = BTreeMap::new();
    for some in kinds.chunks(KINDS) {
        let names = some.iter().map(Kind::as_str).collect::<Vec<_>>().join(",");
        let more: BTreeMap<String, Pending> = hub.get(&["topology", "pending"], &[("kinds", Some(names))]).await?;
        pending.extend(more);
    }
    Ok((pending, keys))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn less_than_an_hour_of_keys_is_said() {
        let told = |json: &str| {
            let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
            let (keys, short) = serde_json::from_str::<Told>(json).unwrap().known(now);
            assert_eq!(keys.len(), 1);
            short.unwrap_or_default()
        };
        let key = r#"{"exchange": "e", "key": "k", "count": 1}"#;
        let since = |at: &str| told(&format!(r#"{{"since": "2026-01-01T{at}Z", "keys": [{key}]}}"#));
        assert_eq!(since("11:00:00"), "");
        assert!(since("11:56:30").contains("known for 3 min only"), "{}", since("11:56:30"));
        assert!(since("12:00:01").contains("known for 0 min only"), "a clock that differs");
        assert!(told(&format!("[{key}]")).contains("does not say for how long"));
    }
}
