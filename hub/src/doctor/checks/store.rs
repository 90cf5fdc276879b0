//! The database of the hub.

use database::Standing;

use super::size;
use crate::doctor::finding::Finding;
use crate::doctor::rules::{STORE_AWAY, STORE_COMMIT, STORE_DISK, STORE_NETWORK, STORE_NEW, STORE_SCHEMA, STORE_UNSAFE};
use crate::doctor::snapshot::Snapshot;

/// Less free, and a busy day fills it.
const ROOM: u64 = 1_000_000_000;

pub(in crate::doctor) fn store(seen: &Snapshot) -> Vec<Finding> {
    let Some(store) = &seen.store else { return Vec::new() };
    let object = format!("store {}", store.shown);
    let mut found = Vec::new();
    if let Some(place) = &store.place {
        let folder = place.folder.display();
        if let Some(network) = place.network {
            let has = format!("{folder} is on {network}");
            found.push(STORE_NETWORK.finds(
                &object,
                has,
                "store.url = a path on a local disk, or postgres:// for several processes",
            ));
        }
        if place.free < ROOM {
            found.push(STORE_DISK.finds(
                &object,
                format!("{} free in {folder}", size(place.free)),
                "make room, or move the file while the hub is stopped",
            ));
        }
    }
    let inspection = match &store.found {
        Ok(inspection) => inspection,
        Err(why) => {
            found.push(STORE_AWAY.finds(object, why, "start the database, or set store.url in warren.toml"));
            return found;
        }
    };
    match &inspection.schema {
        Standing::Current => {}
        Standing::Missing => found.push(STORE_NEW.finds(
            &object,
            "the file is not there yet",
            "nothing, if this is a new hub; otherwise set store.url to its file",
        )),
        Standing::Behind(why) => found.push(STORE_SCHEMA.finds(&object, why, "warren migrate")),
    }
    for setting in ["fsync", "full_page_writes"] {
        if inspection.settings.get(setting).is_some_and(|value| value == "off") {
            let remedy = format!("{setting} = on in postgresql.conf, then: SELECT pg_reload_conf()");
            found.push(STORE_UNSAFE.finds(&object, format!("{setting} is off"), remedy));
        }
    }
    if inspection.settings.get("synchronous_commit").is_some_and(|value| value == "off") {
        let remedy = "synchronous_commit = on in postgresql.conf, for the role and for the database";
        found.push(STORE_COMMIT.finds(object, "synchronous_commit is off for those who do not say otherwise", remedy));
    }
    found
}
