//! What a plan of the topology has to know of this hub: what waits for a kind, and which keys are published.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use broker_topology::{Pending, SeenKey};
use door::problem::{Code, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AdminApi;
use super::caller::{Admin, Parameters};

/// Kinds that one call asks for, at most.
pub const KINDS: usize = 100;

/// Rows of a kind that are counted: those that wait in the store, and as many under way.
const COUNTED: u32 = 10_000;

/// Keys that are told, those that were seen most.
const KEYS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    kinds: String,
}

/// Jobs that have not ended, by kind and state; of kinds that nobody configures any more too.
pub(super) async fn pending(
    State(api): State<AdminApi>,
    admin: Admin,
    Parameters(which): Parameters<Which>,
) -> Result<Json<BTreeMap<String, Pending>>, Problem> {
    admin.for_all_tenants()?;
    let kinds: Vec<&str> = which.kinds.split(',').filter(|kind| !kind.is_empty()).collect();
    if kinds.len() > KINDS {
        let why = format!("`kinds` names {} kinds, {KINDS} at most: ask several times", kinds.len());
        return Err(Problem::new(Code::InvalidParameter, why));
    }
    let mut all = BTreeMap::new();
    for kind in kinds {
        let found = api.stores.jobs.unended(kind, COUNTED).await?;
        let counted: u64 = found.iter().map(|(_, count)| count).sum();
        let states = found.into_iter().map(|(state, count)| (state.name().to_owned(), count)).collect();
        all.insert(kind.to_owned(), Pending { states, more: counted >= u64::from(COUNTED) });
    }
    Ok(Json(all))
}

/// Keys that were published, and since when that is known: `{"since": "2026-01-01T12:00:00Z", "keys": [{"exchange", "key", "count"}]}`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenKeys {
    /// An hour ago, or the start of this process when that was later.
    pub(crate) since: Timestamp,
    /// Those seen most first, 1000 at most.
    pub(crate) keys: Vec<SeenKey>,
}

/// Keys that were published in the last hour.
pub(super) async fn keys(State(api): State<AdminApi>, admin: Admin) -> Result<Json<SeenKeys>, Problem> {
    admin.for_all_tenants()?;
    let lately = api.keys.lately();
    let all = lately.into_iter().flat_map(|(exchange, keys)| {
        keys.into_iter().map(move |(key, count)| SeenKey { exchange: exchange.clone(), key, count })
    });
    let mut all: Vec<SeenKey> = all.collect();
    all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    all.truncate(KEYS);
    Ok(Json(SeenKeys { since: api.keys.since(), keys: all }))
}
