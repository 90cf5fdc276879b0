//! `warren migrate`: the schema of the store.

use clap::Args;

use super::Surroundings;
use super::failure::Failure;
use super::print::talk;
use super::settings::Settings;
use crate::hub::TABLES;

/// On Postgres the hub may run meanwhile; on SQLite it must be stopped. `warren serve` does the same when it starts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  warren migrate\n  warren migrate --set store.url=postgres://warren@db/warren")]
pub(super) struct Migrate {
    #[command(flatten)]
    settings: Settings,
}

impl Migrate {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let store = self.settings.load(around)?.store;
        let migrated = database::migrate(store.url.expose(), &TABLES).await;
        migrated.map_err(|error| Failure::failed(format!("store {}: {error}", store.shown())))?;
        talk(&format!("the schema of {} is up to date", store.shown()));
        Ok(())
    }
}
