//! The heartbeat of a process in its service's database: who lives, by the database's clock alone.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_secs(2);

/// A process counts as dead this long after its last beat, in seconds.
pub(crate) const LAPSE: f64 = 10.0;

/// This process, as others see it.
#[derive(Clone, Debug)]
pub struct Process {
    pool: PgPool,
    id: String,
    service: String,
}

impl Process {
    /// Enters this process.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn enter(pool: PgPool, service: &str) -> Result<Self, sqlx::Error> {
        let process = Self { pool, id: Uuid::now_v7().to_string(), service: service.to_owned() };
        process.beat().await?;
        Ok(process)
    }

    /// Its id: a new one at every start.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Beats until `stop`, then leaves, so that nobody waits for what it owned. While the database is away it lapses.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.beat().await {
                tracing::warn!(error = %error, "cannot write the heartbeat; others take this process for dead after 10 s");
            }
        }
        let left = sqlx::query("DELETE FROM warren_processes WHERE id = $1").bind(&self.id).execute(&self.pool).await;
        if let Err(error) = left {
            tracing::warn!(error = %error, "cannot leave; what this process owned is free in 10 s");
        }
    }

    async fn beat(&self) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH gone AS (DELETE FROM warren_processes WHERE beat_at < clock_timestamp() - interval '1 hour' AND id <> $1)
             INSERT INTO warren_processes (id, service, beat_at) VALUES ($1, $2, clock_timestamp())
             ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at",
        )
        .bind(&self.id)
        .bind(&self.service)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
