//! Services beside their own Postgres: the inbox, the outbox, both ledgers, and `shop` as a process that is killed.

mod events;
mod ledger;
mod outbox;
mod priority;
mod reserve;

use std::sync::Arc;
use std::time::Duration;

use broker_topology::Names;
use messaging::connection::{BrokerOptions, Link};
use messaging::metrics::Metrics;
use messaging::publisher::{Publisher, PublisherOptions};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::postgres::Postgres;

/// Long enough for a start, a lapse of 10 s and a rung on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A vhost with the core topology, a database with the runtime's tables, and a link and a publisher to work with.
struct Stage {
    vhost: Vhost,
    database: String,
    pool: PgPool,
    link: Link,
    publisher: Publisher,
    stop: CancellationToken,
}

impl Stage {
    async fn set() -> Self {
        Self::on(Postgres::shared().await).await
    }

    async fn on(postgres: &Postgres) -> Self {
        let vhost = Broker::shared().await.vhost().await;
        let database = postgres.database().await;
        let pool = PgPool::connect(&database).await.unwrap();
        messaging::migrate(&pool).await.unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let metrics = Arc::new(Metrics::new(&Default::default()).unwrap());
        let options = Arc::new(BrokerOptions::new(vhost.url(), "test"));
        let link = Link::start(options, "test", &tasks, stop.clone(), metrics.clone());
        let publisher = Publisher::start(link.clone(), PublisherOptions::default(), &tasks, stop.clone(), metrics);
        let core = broker_topology::core(&Names::default());
        messaging::apply::apply(&link, &core, messaging::apply::Mode::Declare).await.unwrap();
        Self { vhost, database, pool, link, publisher, stop }
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
