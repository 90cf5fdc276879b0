//! Dead letters and the audit, found.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::super::{error, rows};
use super::letters;
use crate::store::row::letter_columns;
use crate::store::{AuditFilter, AuditRecord, DeadFilter, DeadGroup, DeadLetter, StoreError};

mod sql {
    crate::store::filters::searches!(sqlx::Sqlite, "LIKE");
}

const FLOOR: &str = "SELECT id FROM dead_letters WHERE id < ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2";

/// Groups from one to the next: a seek each, whatever their size. `$of` narrows to a tenant.
macro_rules! groups {
    ($of:literal) => {
        concat!(
            "WITH RECURSIVE g(fingerprint) AS ( \
             SELECT (SELECT fingerprint FROM dead_letters WHERE state = 0",
            $of,
            " AND fingerprint > ?1 ORDER BY fingerprint LIMIT 1) UNION ALL \
             SELECT (SELECT d.fingerprint FROM dead_letters AS d WHERE d.state = 0",
            $of,
            " AND d.fingerprint > g.fingerprint ORDER BY d.fingerprint LIMIT 1) FROM g WHERE g.fingerprint IS NOT NULL) \
             SELECT l.fingerprint, l.code, l.title, l.kind, l.reason, l.queue, \
             (SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE state = 0",
            $of,
            " AND fingerprint = seen.fingerprint LIMIT ?3) AS counted), \
             (SELECT died_at FROM dead_letters WHERE state = 0",
            $of,
            " AND fingerprint = seen.fingerprint ORDER BY id LIMIT 1), l.died_at, l.id \
             FROM (SELECT fingerprint FROM g WHERE fingerprint IS NOT NULL LIMIT ?2) AS seen \
             JOIN dead_letters AS l ON l.id = (SELECT id FROM dead_letters WHERE state = 0",
            $of,
            " AND fingerprint = seen.fingerprint ORDER BY id DESC LIMIT 1) ORDER BY l.fingerprint"
        )
    };
}

const GROUPS: &str = groups!("");

const GROUPS_OF_TENANT: &str = groups!(" AND tenant = ?4");

pub(in super::super) async fn list(conn: &mut SqliteConnection, filter: &DeadFilter) -> Result<Vec<DeadLetter>, StoreError> {
    letters(&sql::letters(letter_columns!(), filter).build().fetch_all(conn).await.map_err(error::store)?)
}

pub(in super::super) async fn ids(conn: &mut SqliteConnection, filter: &DeadFilter) -> Result<Vec<Uuid>, StoreError> {
    let found = sql::letters("id", filter).build().fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| rows::get(row, 0)).collect()
}

pub(in super::super) async fn floor(conn: &mut SqliteConnection, before: Uuid, look: u32) -> Result<Option<Uuid>, StoreError> {
    let query = sqlx::query(FLOOR).bind(before).bind(look.max(1) - 1);
    query.fetch_optional(conn).await.map_err(error::store)?.map(|row| rows::get(&row, 0)).transpose()
}

pub(in super::super) async fn groups(
    conn: &mut SqliteConnection,
    tenant: Option<&str>,
    after: &str,
    limit: u32,
    count: u32,
) -> Result<Vec<DeadGroup>, StoreError> {
    let query = sqlx::query(if tenant.is_some() { GROUPS_OF_TENANT } else { GROUPS });
    let query = query.bind(after).bind(limit).bind(count);
    let query = if let Some(tenant) = tenant { query.bind(tenant) } else { query };
    query.fetch_all(conn).await.map_err(error::store)?.iter().map(rows::group).collect()
}

pub(in super::super) async fn audit_records(
    conn: &mut SqliteConnection,
    filter: &AuditFilter,
) -> Result<Vec<AuditRecord>, StoreError> {
    let found = sql::audit(filter).build().fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(rows::audit_record).collect()
}
