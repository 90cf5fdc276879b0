//! The schema's steps, embedded, and the rule about which schema a binary runs on.
//!
//! Steps only expand what the release before needs (contract comes one release later), so the previous binary runs on the
//! next schema. A step that was released is never edited: its checksum is in every database.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{AppliedMigration, MigrateError, Migration, MigrationType, Migrator};

use crate::StoreError;

/// A step of the schema: number, name, SQL.
pub type Step = (i64, &'static str, &'static str);

/// The steps of one crate's tables, for either database. Two crates share one database, and no number.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// On Postgres.
    pub postgres: &'static [Step],
    /// On SQLite.
    pub sqlite: &'static [Step],
}

/// What runs the steps of one database.
pub(crate) fn migrator(steps: &[Step]) -> Migrator {
    let steps = steps.iter().map(|&(version, name, sql)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    migrator.set_ignore_missing(true);
    migrator
}

/// Whether this binary runs on a schema with these steps applied: all it knows, and any that came later.
pub(crate) fn check(steps: &[Step], applied: &[AppliedMigration]) -> Result<(), StoreError> {
    let missing = steps.iter().find(|(version, ..)| !applied.iter().any(|step| step.version == *version));
    match missing {
        None => Ok(()),
        Some((version, name, _)) => Err(StoreError::Unusable(format!(
            "the database's schema lacks step {version} ({name}), which this version of Warren needs: run `warren migrate`"
        ))),
    }
}

/// What a failed migration means for the caller.
pub(crate) fn failed(error: MigrateError, store: impl Fn(sqlx::Error) -> StoreError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => match store(error) {
            away @ StoreError::Unavailable(_) => away,
            other => StoreError::Unusable(format!("the database's schema cannot be brought up to date: {other}")),
        },
        MigrateError::VersionMismatch(version) => StoreError::Unusable(format!(
            "step {version} of the database's schema is not the one Warren has: it was made by an unreleased build; use \
             another database"
        )),
        other => StoreError::Unusable(format!("the database's schema cannot be brought up to date: {other}")),
    }
}
