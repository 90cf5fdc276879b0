//! Searches put together from the filters that are given, so that the planner sees which of them an index serves. How many
//! such statements there are is bounded by how many filters there are, and most are never seen.

/// Escapes what means something in a pattern of LIKE.
pub(super) fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in super::stored::legible(text).chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Writes the searches for a database.
macro_rules! searches {
    ($db:ty, $like:literal) => {
        use crate::store::filters::pattern;
        use crate::store::stored::legible;
        use crate::store::{AuditFilter, DeadFilter};
        use sqlx::QueryBuilder;

        /// `SELECT columns` of the dead letters that match.
        pub(crate) fn letters(columns: &str, filter: &DeadFilter) -> QueryBuilder<$db> {
            let (from, before) = (filter.above(), filter.below());
            let mut query = QueryBuilder::new(format!("SELECT {columns} FROM dead_letters WHERE id < "));
            query.push_bind(before);
            if !from.is_nil() {
                query.push(" AND id >= ").push_bind(from);
            }
            // Not by the index of a tenant's groups: it is in another order, and all of it would have to be sorted.
            let texts = [
                ("coalesce(tenant, '')", &filter.tenant),
                ("queue", &filter.queue),
                ("kind", &filter.kind),
                ("reason", &filter.reason),
                ("code", &filter.code),
                ("fingerprint", &filter.fingerprint),
            ];
            for (column, text) in texts {
                if let Some(text) = text {
                    query.push(format_args!(" AND {column} = ")).push_bind(legible(text).into_owned());
                }
            }
            // The number itself: only then a partial index can be seen to fit.
            if let Some(state) = filter.state {
                query.push(format_args!(" AND state = {}", state.stored()));
            }
            if let Some(since) = filter.since {
                query.push(" AND died_at >= ").push_bind(since);
            }
            if let Some(until) = filter.until {
                query.push(" AND died_at < ").push_bind(until);
            }
            if let Some(text) = &filter.text {
                query.push(concat!(" AND error ", $like, " ")).push_bind(pattern(text)).push(" ESCAPE '\\'");
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query
        }

        /// The lines of the audit that match.
        pub(crate) fn audit(filter: &AuditFilter) -> QueryBuilder<$db> {
            let columns = crate::store::row::audit_columns!();
            let mut query = QueryBuilder::new(format!("SELECT {columns} FROM audit WHERE number < "));
            query.push_bind(filter.before.unwrap_or(i64::MAX));
            if let Some(from) = filter.from {
                query.push(" AND number >= ").push_bind(from);
            }
            if let Some(letter) = filter.letter {
                query.push(" AND letter = ").push_bind(letter);
            }
            for (column, text) in [("tenant", &filter.tenant), ("actor", &filter.actor)] {
                if let Some(text) = text {
                    query.push(format_args!(" AND {column} = ")).push_bind(legible(text).into_owned());
                }
            }
            if let Some(since) = filter.since {
                query.push(" AND at >= ").push_bind(since);
            }
            query.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(filter.limit));
            query
        }
    };
}
pub(super) use searches;

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_is_no_pattern() {
        assert_eq!(super::pattern("50%_a\\b\0"), "%50\\%\\_a\\\\b\u{fffd}%");
    }
}
