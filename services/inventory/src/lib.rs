//! The inventory service: products, what is left of each, and who has reserved how much.
//!
//! It owns its database; nobody else reads it. It is met through one job kind, [`reserve::KIND`].
//!
//! Guarantees: stock never falls below zero, and one job reserves once, however often its message comes.

pub mod reserve;
pub mod stock;

use broker_topology::{Kind, Names, Topology};
use messaging::service::{Service, WorkSpec};
use sqlx::PgPool;
use sqlx::migrate::MigrateError;

/// The service's name: who owns its queues (`service/inventory`), and the `worker` in its results.
pub const NAME: &str = "inventory";

const STEPS: &[(i64, &str, &str)] = &[(1, "stock", include_str!("../migrations/0001_stock.sql"))];

/// Brings the service's own tables up to date.
///
/// # Errors
/// When the database is away, or a step fails; a failed step leaves nothing behind.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    messaging::schema::migrator("_inventory_migrations", STEPS).run(pool).await
}

/// The queues of this service.
pub fn topology(names: &Names) -> Topology {
    broker_topology::work_queue(names, &reserve::kind(), &broker_topology::service_owner(NAME))
}

/// Adds this service's handlers to `service`.
#[must_use]
pub fn register(service: Service, pool: &PgPool, spec: WorkSpec) -> Service {
    let kind: Kind = reserve::kind();
    service.job(&kind, reserve::Reserve::new(pool.clone()), spec)
}
