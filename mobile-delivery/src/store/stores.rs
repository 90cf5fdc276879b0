//! The stores of an open database.

use std::sync::Arc;

use database::{Database, Steps};

use super::{
    DeviceStore, GroupStore, LaneStore, LogStore, MessageStore, PostgresDevices, SessionStore, SqliteDevices, StoreError,
    postgres, sqlite,
};

/// The steps of the tables of devices. Their numbers begin at 1001.
pub const TABLES: Steps = Steps { postgres: &postgres::STEPS, sqlite: &sqlite::STEPS };

/// The tables of devices, whichever database they are in.
#[derive(Clone)]
pub struct Stores {
    /// Devices.
    pub devices: Arc<dyn DeviceStore>,
    /// Their messages.
    pub messages: Arc<dyn MessageStore>,
    /// Who is connected.
    pub sessions: Arc<dyn SessionStore>,
    /// Their queues.
    pub lanes: Arc<dyn LaneStore>,
    /// What goes to many of them at once.
    pub log: Arc<dyn LogStore>,
    /// Who is together.
    pub groups: Arc<dyn GroupStore>,
}

impl Stores {
    /// The stores in a database that has [`TABLES`].
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn on(database: &Database) -> Result<Self, StoreError> {
        match database {
            Database::Postgres(database) => Ok(Self::of(PostgresDevices::on(database.clone()))),
            Database::Sqlite(database) => Ok(Self::of(SqliteDevices::on(database.clone()).await?)),
        }
    }

    fn of<S: DeviceStore + MessageStore + SessionStore + LaneStore + LogStore + GroupStore>(store: S) -> Self {
        let store = Arc::new(store);
        Self {
            devices: store.clone(),
            messages: store.clone(),
            sessions: store.clone(),
            lanes: store.clone(),
            log: store.clone(),
            groups: store,
        }
    }
}
