//! `warren doctor`: what is wrong, or about to be, with the broker, the store and the way to them.
//!
//! ```text
//! look    asks: the broker's greeting and a login, its management API part by part, certificates, the store -> Snapshot
//! checks  one small function each, Snapshot -> findings; no I/O, tested with answers recorded from real brokers
//! rules   every sort of finding: a stable code, a severity, why it matters
//! ```
//!
//! Each shard is looked at as the main broker is, but for the store. It changes nothing. What it may not see it says, and looks at the rest.

mod checks;
mod finding;
mod look;
mod rules;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use finding::{Finding, Severity};

use crate::config::Config;

/// Looks at all that `config` leads to; the worst comes first.
///
/// # Errors
/// When the configuration itself is of no use, with a sentence for people.
pub(crate) async fn examine(config: &Config) -> Result<Vec<Finding>, String> {
    let shards = config.broker.shards.iter().filter_map(|shard| Some((&*shard.name, config.of_shard(&shard.name)?)));
    let looks = shards.map(async |(name, config)| look::look(&config).await.map(|seen| (name, seen)));
    let (main, shards) = tokio::join!(look::look(config), futures::future::try_join_all(looks));
    let mut found = findings(&main?);
    for (name, seen) in &shards? {
        let at_shard = findings(seen).into_iter();
        found.extend(at_shard.map(|finding| Finding { object: format!("shard `{name}`: {}", finding.object), ..finding }));
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(found)
}

fn findings(seen: &snapshot::Snapshot) -> Vec<Finding> {
    let mut found: Vec<Finding> = checks::ALL.iter().flat_map(|check| check(seen)).collect();
    // Within a severity the order of the checks stays.
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}
