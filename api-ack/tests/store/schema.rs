//! What a database is made of and what is in it, past the store: to compare a schema with the one before it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use crate::ground::Place;

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its type, and whether it may be NULL.
    pub what: String,
    /// Whether a row can be written without it.
    pub optional: bool,
}

/// The tables, but for the migrations' own and the heartbeats, which a start rewrites.
#[derive(Debug, Default)]
pub struct Schema {
    /// By table and name.
    pub columns: BTreeMap<(String, String), Column>,
    /// Indexes and constraints, as the database writes them.
    pub rules: BTreeSet<(String, String)>,
}

const PG_COLUMNS: &str = "SELECT table_name::text, column_name::text, data_type || ' ' || is_nullable, \
    is_nullable = 'YES' OR column_default IS NOT NULL OR is_identity = 'YES' OR is_generated = 'ALWAYS' \
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position";

const PG_RULES: &str = "SELECT tablename::text, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL \
    SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint \
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n' UNION ALL \
    SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal";

const LITE_COLUMNS: &str = "SELECT t.name, c.name, c.type || ' ' || c.\"notnull\", \
    c.\"notnull\" = 0 OR c.dflt_value IS NOT NULL OR c.hidden <> 0 OR (c.pk > 0 AND c.type = 'INTEGER') \
    FROM sqlite_schema t JOIN pragma_table_xinfo(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' ORDER BY t.name, c.cid";

const LITE_RULES: &str = "SELECT tbl_name, coalesce(sql, name) FROM sqlite_schema WHERE type IN ('index', 'trigger')";

fn is_ours(table: &str) -> bool {
    !matches!(table, "_sqlx_migrations" | "processes")
}

/// Runs `$query` at a place and takes the rows apart with `$take`.
macro_rules! rows_of {
    ($place:expr, $pg:expr, $lite:expr, $row:ident => $take:expr) => {
        match $place {
            Place::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let rows = sqlx::query(AssertSqlSafe($pg)).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|$row| $take).collect::<Vec<_>>()
            }
            Place::Sqlite(file, _) => {
                let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
                let rows = sqlx::query(AssertSqlSafe($lite)).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|$row| $take).collect::<Vec<_>>()
            }
        }
    };
}

impl Schema {
    /// The schema at a place.
    pub async fn of(place: &Place) -> Self {
        let columns: Vec<(String, String, String, bool)> = rows_of!(place, PG_COLUMNS.to_owned(), LITE_COLUMNS.to_owned(), row => (row.get(0), row.get(1), row.get(2), row.get(3)));
        let rules: Vec<(String, String)> =
            rows_of!(place, PG_RULES.to_owned(), LITE_RULES.to_owned(), row => (row.get(0), row.get(1)));
        let columns = columns.into_iter().filter(|(table, ..)| is_ours(table));
        Self {
            columns: columns.map(|(table, name, what, optional)| ((table, name), Column { what, optional })).collect(),
            rules: rules.into_iter().filter(|(table, _)| is_ours(table)).collect(),
        }
    }

    /// Its tables.
    pub fn tables(&self) -> BTreeSet<&str> {
        self.columns.keys().map(|(table, _)| table.as_str()).collect()
    }

    /// Every row at a place as text, sorted: the columns that this schema knows, whatever columns are there.
    pub async fn rows(&self, place: &Place) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        for table in self.tables() {
            let names: Vec<&str> = self.columns.keys().filter(|(of, _)| of == table).map(|(_, name)| name.as_str()).collect();
            let pg = format!("SELECT row({})::text FROM {table}", names.join(", "));
            let quoted: Vec<String> = names.iter().map(|name| format!("quote({name})")).collect();
            let lite = format!("SELECT {} FROM {table}", quoted.join(" || ',' || "));
            let mut rows: Vec<String> = rows_of!(place, pg, lite, row => row.get(0));
            rows.sort_unstable();
            all.insert(table.to_owned(), rows);
        }
        all
    }
}

/// Everything that a step of the schema may do to the binary before it: columns it does not know in every table, indexes over
/// them, a table, and a step that it never heard of.
pub async fn growth(place: &Place) -> String {
    let schema = Schema::of(place).await;
    let (text, number) = match place {
        Place::Postgres(_) => ("text", "bigint"),
        Place::Sqlite(..) => ("TEXT", "INTEGER"),
    };
    let mut sql = format!("BEGIN;\nCREATE TABLE later (id {number} PRIMARY KEY, word {text} NOT NULL);\n");
    for table in schema.tables().into_iter().chain(["processes"]) {
        sql.push_str(&format!(
            "ALTER TABLE {table} ADD COLUMN later_word {text};\n\
             ALTER TABLE {table} ADD COLUMN later_number {number} NOT NULL DEFAULT 7;\n\
             CREATE INDEX {table}_later ON {table} (later_number, later_word);\n"
        ));
    }
    sql.push_str(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', true, '', 0);\n\
         COMMIT;",
    );
    sql
}
