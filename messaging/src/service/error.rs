//! Why a service does not start.

use std::time::Duration;

use broker_topology::Violation;

use crate::connection::ConnectError;
use crate::trace::TraceError;

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A broker URL is unusable.
    #[error(transparent)]
    Broker(#[from] ConnectError),
    /// The broker would take deliveries back before their turn comes.
    #[error(
        "queue `{queue}`: concurrency and prefetch must be 1 or more, and the last prefetched delivery would end after {longest:?}, \
         15 min at most are safe; lower the prefetch or the timeout, or raise the concurrency"
    )]
    Spec {
        /// Which queue.
        queue: String,
        /// [`rounds`](crate::consumer::rounds)` x timeout`.
        longest: Duration,
    },
    /// The topology breaks a rule.
    #[error("topology: {0}")]
    Topology(Violation),
    /// Spans cannot be exported like this.
    #[error("tracing: {0}")]
    Tracing(#[from] TraceError),
    /// The tables of the runtime could not be brought up to date.
    #[error("migrate the service's database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The service's database is away.
    #[error("use the service's database: {0}")]
    Database(#[from] sqlx::Error),
    /// Another service has registered the same metrics in this registry.
    #[error("register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl ServiceError {
    /// Whether the settings are at fault, so that starting again gives the same.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Broker(_) | Self::Spec { .. } | Self::Topology(_) | Self::Tracing(_))
    }
}
