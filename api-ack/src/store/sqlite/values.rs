//! Rows as the parameters of one `INSERT`: the fast way in, for what is accepted.
//!
//! A statement has room for a power of two of rows and is prepared once for each; room that is left over is bound to NULL and
//! skipped. JSON, the way of every other batch here, costs SQLite a parse for each column of each row.

use std::sync::OnceLock;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use super::error;
use crate::store::StoreError;

/// Rows in one statement at most: with 22 columns, a third of the parameters SQLite takes.
const MOST: usize = 512;

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// An `INSERT` of many rows. The first column is never NULL.
pub(super) struct Insert {
    /// `INSERT INTO table (columns)`.
    into: &'static str,
    columns: usize,
    /// What follows: an `ON CONFLICT` clause, or nothing.
    then: &'static str,
    /// By the logarithm of how many rows they take.
    statements: [OnceLock<String>; MOST.ilog2() as usize + 1],
}

impl Insert {
    pub(super) const fn new(into: &'static str, columns: usize, then: &'static str) -> Self {
        Self { into, columns, then, statements: [const { OnceLock::new() }; MOST.ilog2() as usize + 1] }
    }

    /// Inserts `rows`, each bound by `bind`; answers how many became rows.
    pub(super) async fn execute<'q, T>(
        &'static self,
        conn: &mut SqliteConnection,
        rows: &'q [T],
        bind: impl Fn(Query<'q>, &'q T) -> Query<'q>,
    ) -> Result<u64, StoreError> {
        let mut became = 0;
        for rows in rows.chunks(MOST) {
            let room = rows.len().next_power_of_two();
            let query = rows.iter().fold(sqlx::query(self.statement(room)), &bind);
            let query = (0..(room - rows.len()) * self.columns).fold(query, |query, _| query.bind(None::<i64>));
            became += query.execute(&mut *conn).await.map_err(error::store)?.rows_affected();
        }
        Ok(became)
    }

    fn statement(&'static self, room: usize) -> &'static str {
        self.statements[room.ilog2() as usize].get_or_init(|| {
            let row = format!("({})", vec!["?"; self.columns].join(","));
            let rows = vec![row; room].join(",");
            format!("{} SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL {}", self.into, self.then)
        })
    }
}
