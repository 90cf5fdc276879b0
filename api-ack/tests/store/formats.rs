//! Databases of every format are read by this version, and what comes after it lets the version before it go on.

use crate::golden::open;
use std::path::{Path, PathBuf};

use api_ack::store::{DeadFilter, DeadLetterStore, DeadState, Inserted, JobStore, Stores};

use crate::everything;
use crate::golden;
use crate::ground::{Ground, Place, accepted, empty_postgres};
use crate::schema::Schema;

contract!(the_contents_of_a_golden_database_come_out_as_they_went_in, everything_comes_out_as_it_went_in);

async fn the_contents_of_a_golden_database_come_out_as_they_went_in(ground: &Ground) {
    golden::fill(&*ground.jobs, &*ground.dead).await.unwrap();
    check(&*ground.jobs, &*ground.dead).await;
}

async fn everything_comes_out_as_it_went_in(ground: &Ground) {
    let stores = ground.stores();
    everything::fill(&stores).await.unwrap();
    everything::check(&stores).await;
}

/// That `golden::fill` was done to these stores, by whatever version.
pub async fn check(jobs: &dyn JobStore, dead: &dyn DeadLetterStore) {
    let change = golden::change();
    for new in golden::jobs() {
        let record = jobs.record_of(new.job.id).await.unwrap().unwrap();
        let changed = new.job.id == change.id;
        assert_eq!((&record.job.kind, &record.job.tenant), (&new.job.kind, &new.job.tenant));
        assert_eq!((&record.job.status, &record.payload), (&new.job.status, &new.payload.outline()));
        assert_eq!(record.job.version, if changed { 2 } else { 1 });
        assert_eq!(record.result, change.result.clone().filter(|_| changed));
        assert_eq!(record.history.first(), change.history.as_ref().filter(|_| changed));
    }
    let letters = dead.dead_letters(&DeadFilter { limit: 9, ..DeadFilter::default() }).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0].letter, letters[0].state), (&golden::letter(), DeadState::Discarded));
    assert_eq!(dead.audit(letters[0].id).await.unwrap()[0].actor, "olga");
    // Its key still answers.
    let mut again = accepted("mail", "acme");
    again.key = golden::jobs()[1].key;
    let inserted = jobs.insert(&[again]).await.unwrap();
    assert_eq!(inserted, [Inserted::Existing { id: golden::id(1), fingerprint: [2; 32] }]);
}

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The database of format 4, with the schema it was written under.
async fn format_4_on_sqlite() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("warren.db");
    std::fs::copy(kept("store-v4.sqlite"), &file).unwrap();
    Place::Sqlite(file, folder)
}

async fn format_4_on_postgres() -> Place {
    let place = Place::Postgres(empty_postgres().await);
    place.execute(&std::fs::read_to_string(kept("store-v4.sql")).unwrap()).await;
    place
}

async fn stores_at(place: &Place) -> Stores {
    open(&place.url(), true).await.unwrap()
}

/// The schema of today on a database of format 4: every row is where it was, and the binary of format 4 could go on.
async fn is_read_and_left_as_it_was(place: Place) {
    let old = Schema::of(&place).await;
    assert!(old.columns.len() > 80 && old.rules.len() > 15, "{old:?}");
    let before = old.rows(&place).await;
    assert!(before.values().all(|rows| !rows.is_empty()), "there is something in every table: {before:?}");
    let stores = stores_at(&place).await;
    assert_eq!(old.rows(&place).await, before);
    everything::check(&stores).await;

    let new = Schema::of(&place).await;
    for (name, column) in &old.columns {
        assert_eq!(new.columns.get(name), Some(column), "{name:?}: what a format has, the next one has too");
    }
    let tables = old.tables();
    for (name, column) in new.columns.iter().filter(|(name, _)| !old.columns.contains_key(*name)) {
        let known = tables.contains(name.0.as_str());
        assert!(!known || column.optional, "{name:?}: the binary before does not write it, so it needs a default");
    }
    for rule in &old.rules {
        assert!(new.rules.contains(rule), "{rule:?}: a statement of the binary before may name it or need it");
    }
    for (table, rule) in new.rules.difference(&old.rules).filter(|(table, _)| tables.contains(table.as_str())) {
        let harmless = rule.starts_with("CREATE INDEX");
        assert!(harmless, "{table}: {rule}: what the binary before writes could be refused");
    }
}

#[tokio::test]
async fn a_sqlite_database_of_format_4_is_read_and_left_as_it_was() {
    is_read_and_left_as_it_was(format_4_on_sqlite().await).await;
}

#[tokio::test]
async fn a_postgres_database_of_format_4_is_read_and_left_as_it_was() {
    is_read_and_left_as_it_was(format_4_on_postgres().await).await;
}

/// A hub runs while the migration of the next version is at its database, with every statement prepared on the old schema.
async fn what_runs_goes_on_while_the_schema_grows(ground: Ground) {
    let stores = ground.stores();
    everything::fill(&stores).await.unwrap();
    everything::check(&stores).await;
    let old = Schema::of(&ground.place).await;
    let ground = ground.grown().await;
    everything::check(&stores).await;
    for table in old.tables() {
        ground.execute(&format!("DELETE FROM {table}")).await;
    }
    everything::fill(&stores).await.unwrap();
    everything::check(&stores).await;
}

#[tokio::test]
async fn what_runs_on_sqlite_goes_on_while_the_schema_grows() {
    what_runs_goes_on_while_the_schema_grows(Ground::sqlite().await).await;
}

#[tokio::test]
async fn what_runs_on_postgres_goes_on_while_the_schema_grows() {
    what_runs_goes_on_while_the_schema_grows(Ground::postgres().await).await;
}
