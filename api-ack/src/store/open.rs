//! Which database, by the scheme of its URL.

use std::sync::Arc;

use super::{
    DeadLetterStore, DestinationStore, JobStore, PauseStore, PostgresStore, SecretStore, SelectionStore, SqliteStore, StoreError,
    postgres, sqlite,
};

/// Connections one hub process shares out over everything but accepting and marking, which have one each: 16 in all.
const MAX_CONNECTIONS: u32 = 14;

/// The hub's tables, whichever database they are in.
#[derive(Clone)]
pub struct Stores {
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// Dead letters.
    pub dead: Arc<dyn DeadLetterStore>,
    /// Paused kinds.
    pub pauses: Arc<dyn PauseStore>,
    /// Frozen sets of dead letters.
    pub selections: Arc<dyn SelectionStore>,
    /// Destinations of calls.
    pub destinations: Arc<dyn DestinationStore>,
    /// What processes share and nobody else knows.
    pub secrets: Arc<dyn SecretStore>,
}

impl Stores {
    fn of<S: JobStore + DeadLetterStore + PauseStore + SelectionStore + DestinationStore + SecretStore>(store: S) -> Self {
        let store = Arc::new(store);
        Self {
            jobs: store.clone(),
            dead: store.clone(),
            pauses: store.clone(),
            selections: store.clone(),
            destinations: store.clone(),
            secrets: store,
        }
    }
}

/// Opens `sqlite://<path>` (relative, or absolute with a third slash) or `postgres://...`; with `migrate`, brings the schema up
/// to date first.
///
/// # Errors
/// [`StoreError::Unusable`] for another scheme, an old schema, or a file that another process holds; [`StoreError::Unavailable`]
/// when Postgres does not answer.
pub async fn open(url: &str, migrate: bool) -> Result<Stores, StoreError> {
    match Place::of(url)? {
        Place::Postgres(url) => Ok(Stores::of(PostgresStore::connect(url, MAX_CONNECTIONS, migrate).await?)),
        Place::Sqlite(path) => Ok(Stores::of(SqliteStore::open(path.as_ref(), migrate).await?)),
    }
}

/// Brings the schema at `url` up to date. On SQLite the hub must be stopped; on Postgres it may run.
///
/// # Errors
/// As [`open`].
pub async fn migrate(url: &str) -> Result<(), StoreError> {
    match Place::of(url)? {
        Place::Postgres(url) => postgres::migrate(url).await,
        Place::Sqlite(path) => sqlite::migrate(path.as_ref()).await,
    }
}

enum Place<'a> {
    Postgres(&'a str),
    Sqlite(&'a str),
}

impl<'a> Place<'a> {
    fn of(url: &'a str) -> Result<Self, StoreError> {
        // The URL may carry a password: only its scheme is ever repeated.
        match url.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(url)),
            Some(("sqlite", path)) if !path.is_empty() && !path.contains('?') => Ok(Self::Sqlite(path)),
            Some(("sqlite", _)) => Err(StoreError::Unusable(
                "a `sqlite://` URL is followed by the path of a file and nothing else, as in sqlite://.warren/warren.db".into(),
            )),
            other => Err(StoreError::Unusable(format!(
                "the database URL begins with `{}`; Warren knows sqlite://<path> and postgres://<user>@<host>/<database>",
                other.map_or("no scheme", |(scheme, _)| scheme),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[test]
    fn the_scheme_chooses() {
        assert!(matches!(Place::of("postgres://u@h/d"), Ok(Place::Postgres("postgres://u@h/d"))));
        assert!(matches!(Place::of("postgresql://h/d"), Ok(Place::Postgres(_))));
        assert!(matches!(Place::of("sqlite:///var/lib/w.db"), Ok(Place::Sqlite("/var/lib/w.db"))));
        assert!(matches!(Place::of("sqlite://w.db"), Ok(Place::Sqlite("w.db"))));
    }

    #[test]
    fn what_is_refused_says_what_is_accepted_and_no_password() {
        for url in ["mysql://root:secret@h/d", "secret", "sqlite://", "sqlite://w.db?mode=ro"] {
            let Err(StoreError::Unusable(text)) = Place::of(url) else { panic!("{url} was accepted") };
            assert!(text.contains("sqlite://") && !text.contains("secret"), "{text}");
        }
    }
}
