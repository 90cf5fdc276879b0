//! The stores of an open database.

use std::sync::Arc;

use database::{Database, Steps};

use super::{
    CallbackStore, DeadLetterStore, DestinationStore, JobStore, PauseStore, PostgresStore, SecretStore, SelectionStore,
    SqliteStore, StoreError, postgres, sqlite,
};

/// The steps of the tables of jobs.
pub const STEPS: Steps = Steps { postgres: &postgres::STEPS, sqlite: &sqlite::STEPS };

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
    /// Callbacks of jobs.
    pub callbacks: Arc<dyn CallbackStore>,
    /// What processes share and nobody else knows.
    pub secrets: Arc<dyn SecretStore>,
}

impl Stores {
    /// The stores in a database that has [`STEPS`]. On SQLite processes of earlier runs are gone, since there is only one: what they
    /// owned is free at once.
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn on(database: &Database) -> Result<Self, StoreError> {
        match database {
            Database::Postgres(database) => Ok(Self::of(PostgresStore::on(database.clone()))),
            Database::Sqlite(database) => Ok(Self::of(SqliteStore::on(database.clone()).await?)),
        }
    }

    fn of<S>(store: S) -> Self
    where
        S: JobStore + DeadLetterStore + PauseStore + SelectionStore + DestinationStore + CallbackStore + SecretStore,
    {
        let store = Arc::new(store);
        Self {
            jobs: store.clone(),
            dead: store.clone(),
            pauses: store.clone(),
            selections: store.clone(),
            destinations: store.clone(),
            callbacks: store.clone(),
            secrets: store,
        }
    }
}
