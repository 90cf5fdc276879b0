//! The tables this crate keeps in a service's own Postgres: inbox, outbox, starts, processes.
//!
//! Their steps are recorded in `_warren_migrations`, so a service's own migrations are not disturbed. Steps only expand what
//! the release before needs, and a released step is never edited. A newer schema is accepted, for rolling back.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgPool, SqlSafeStr};

const STEPS: &[(i64, &str, &str)] = &[(1, "inbox outbox starts", include_str!("../migrations/0001_inbox_outbox_starts.sql"))];

/// Brings the tables up to date. Safe to run from several processes at once.
///
/// # Errors
/// When the database is away, or a step fails; a failed step leaves nothing behind.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    migrator("_warren_migrations", STEPS).run(pool).await
}

/// A migrator for `steps` (number, name, SQL) that keeps its record in `table`, so that several can share a database.
pub fn migrator(table: &'static str, steps: &[(i64, &'static str, &'static str)]) -> Migrator {
    let steps = steps
        .iter()
        .map(|&(version, name, sql)| Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false));
    let mut migrator = Migrator::with_migrations(steps.collect());
    migrator.set_ignore_missing(true);
    // Not a change of name, which is what the method warns of: each table has had its name from the first step on.
    migrator.dangerous_set_table_name(table);
    migrator
}
