//! Handlers that do their worst, in real processes: what a test wants is written in the message.
//!
//! ```text
//! hard-handlers serve --config FILE   a hub with the handler of `test.hard`
//! hard-handlers service               a service that handles jobs of `test.hard`
//! hard-handlers subscriber            a service that handles events `orders.*` from the queue `hard.orders`
//! ```
//!
//! All keep their effects in the database that `DATABASE_URL` names, each effect and its inbox entry in one transaction; the two
//! services find the broker in `AMQP_URL`. Every start of a handler is noted in `runs`, whatever becomes of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use async_trait::async_trait;
use broker_topology::{Kind, Names};
use messaging::connection::BrokerOptions;
use messaging::handler::{Context, Failure, Handler, Json, Outcome};
use messaging::inbox::{Entry, Inbox, InboxError};
use messaging::retry::{Delay, RetryPolicy};
use messaging::service::{Service, WorkSpec};
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use warren_hub::config::{Config, Sources};
use warren_hub::hub::Hub;

const KIND: &str = "test.hard";
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS runs (id text NOT NULL, attempt int NOT NULL)",
    "CREATE TABLE IF NOT EXISTS effects (id text NOT NULL)",
];

#[derive(Debug, Deserialize)]
struct Wish {
    #[serde(rename = "do")]
    what: What,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    /// Has its effect.
    Work,
    /// Takes the process with it.
    Abort,
    /// Panics.
    Panic,
    /// Asks for a retry at first, and has its effect then.
    Retry,
    /// Waits until nobody wants it any more, and asks for a retry.
    Wait,
    /// Waits until nobody wants it any more, and has its effect all the same.
    Linger,
    /// Waits for ever.
    Deaf,
    /// Says a hundred words about how far it is, and waits until nobody wants it any more.
    Tell,
}

struct Hard {
    pool: PgPool,
}

impl Hard {
    async fn note(&self, cx: &Context) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("INSERT INTO runs (id, attempt) VALUES ($1, $2)").bind(&cx.id).bind(cx.attempt);
        insert.execute(&self.pool).await.map(drop)
    }

    async fn work(&self, cx: &Context) -> Result<Outcome, InboxError> {
        let mut tx = self.pool.begin().await?;
        if let Entry::Already(before) = Inbox::record(&mut tx, cx, &Outcome::done()).await? {
            tx.rollback().await?;
            return Ok(before);
        }
        sqlx::query("INSERT INTO effects (id) VALUES ($1)").bind(&cx.id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Outcome::done())
    }
}

#[async_trait]
impl Handler<Json<Wish>> for Hard {
    // The message asks for it.
    #[allow(clippy::panic)]
    async fn handle(&self, cx: &Context, Json(wish): Json<Wish>) -> Outcome {
        if let Err(error) = self.note(cx).await {
            return Outcome::Retry(Failure::new("database", error.to_string()));
        }
        match wish.what {
            What::Abort => std::process::abort(),
            What::Panic => panic!("attempt {} ends in a panic, as the message asks", cx.attempt),
            What::Retry if cx.attempt < 2 => Outcome::Retry(Failure::new("not-yet", "as the message asks")),
            What::Wait => {
                cx.cancelled.cancelled().await;
                Outcome::Retry(Failure::new("unwanted", "somebody asked for a cancel"))
            }
            What::Deaf => std::future::pending().await,
            What::Tell => {
                for word in 0..100 {
                    cx.progress(40, format!("word {word}"));
                }
                cx.cancelled.cancelled().await;
                Outcome::Retry(Failure::new("unwanted", "somebody asked for a cancel"))
            }
            What::Linger => {
                cx.cancelled.cancelled().await;
                self.work(cx).await.unwrap_or_else(|error| Outcome::Retry(Failure::new("database", error.to_string())))
            }
            What::Work | What::Retry => {
                self.work(cx).await.unwrap_or_else(|error| Outcome::Retry(Failure::new("database", error.to_string())))
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let variable = |name: &str| variables.get(name).cloned().ok_or(format!("{name} is missing"));
    let pool = PgPoolOptions::new().max_connections(20).connect(&variable("DATABASE_URL")?).await?;
    messaging::migrate(&pool).await?;
    for table in TABLES {
        // Two processes that start at once may both create it; one of them is told so.
        if let Err(error) = sqlx::query(table).execute(&pool).await {
            tracing::debug!(error = %error, "the table is there");
        }
    }
    let handler = Hard { pool: pool.clone() };
    match arguments.next().as_deref() {
        Some("serve") => serve(arguments.nth(1).ok_or("--config FILE is missing")?, &variables, handler).await,
        Some(role @ ("service" | "subscriber")) => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).init();
            let broker = BrokerOptions::new(variable("AMQP_URL")?, "hard");
            let second = RetryPolicy { delays: vec![Delay::Rung(broker_topology::Rung::S1)], max_attempts: 3 };
            let service = Service::new("hard", broker, pool, Names::default()).retry_events(second);
            let spec = WorkSpec { prefetch: 64, concurrency: 8, ..WorkSpec::default() };
            let service = match role {
                "service" => service.job(&Kind::parse(KIND)?, handler, spec),
                _ => service.subscribe("hard.orders", &["orders.*"], handler, spec),
            };
            let (drain, mut terminate) = (CancellationToken::new(), signal(SignalKind::terminate())?);
            let mut running = std::pin::pin!(service.run(drain.clone()));
            tokio::select! {
                ended = &mut running => ended?,
                _ = terminate.recv() => {
                    drain.cancel();
                    running.await?;
                }
            }
            Ok(())
        }
        _ => Err("say serve, service or subscriber".into()),
    }
}

async fn serve(file: String, variables: &BTreeMap<String, String>, handler: Hard) -> Result<(), Box<dyn Error>> {
    // As `warren` does, without the fallbacks: `DATABASE_URL` is the handler's here.
    let variables: Vec<(String, String)> = variables
        .iter()
        .filter(|(name, _)| name.starts_with("WARREN__"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let config = Config::load(&Sources { files: &[PathBuf::from(file)], variables: &variables, ..Sources::default() })?.config;
    warren_hub::telemetry::init(&config.log);
    let _running = Hub::new(config).handler(KIND, handler).start().await?;
    std::future::pending().await
}
