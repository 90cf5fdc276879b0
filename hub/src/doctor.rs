//! `warren doctor`: what is wrong, or about to be, with the broker, the store and the way to them.
//!
//! ```text
//! look    asks: the broker's greeting and a login, its management API part by part, certificates, the store -> Snapshot
//! checks  one small function each, Snapshot -> findings; no I/O, tested with answers recorded from real brokers
//! rules   every sort of finding: a stable code, a severity, why it matters
//! ```
//!
//! It changes nothing. What it may not see it says, and looks at the rest.

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
    Ok(findings(&look::look(config).await?))
}

fn findings(seen: &snapshot::Snapshot) -> Vec<Finding> {
    let mut found: Vec<Finding> = checks::ALL.iter().flat_map(|check| check(seen)).collect();
    // Within a severity the order of the checks stays.
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}
