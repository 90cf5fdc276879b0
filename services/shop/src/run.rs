//! What each command does.

use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use broker_topology::Names;
use inventory::stock;
use messaging::apply::Mode;
use messaging::connection::BrokerOptions;
use messaging::service::{Service, ServiceError, WorkSpec};
use messaging::trace::TraceOptions;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, Database, Manage, Output, Run, Stock};

/// Connections beside one per handler: begin, finish, relay, heartbeat, purge, and one to spare.
const SPARE_CONNECTIONS: u32 = 6;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("--database-url is not a Postgres URL: {0}")]
    DatabaseUrl(sqlx::Error),
    #[error("cannot read `{path}` ({why}): look at --amqp-ca, --amqp-client-cert and --amqp-client-key", path = path.display())]
    Pem { path: PathBuf, why: std::io::Error },
    #[error("sku `{0}`: give 1 to 200 bytes without control characters")]
    Sku(String),
    #[error("cannot use the database: {0}; check --database-url, and that Postgres is up")]
    Database(#[from] sqlx::Error),
    #[error("cannot bring the tables up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Failed {
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::DatabaseUrl(_) | Self::Pem { .. } | Self::Sku(_) => true,
            Self::Service(error) => error.is_configuration(),
            Self::Database(_) | Self::Migrate(_) | Self::Io(_) => false,
        }
    }
}

pub async fn run(cli: Cli) -> Result<(), Failed> {
    match cli.command {
        // One service so far; each further one joins here with a database of its own.
        Command::Inventory(options) | Command::All(options) => serve(options).await,
        Command::Migrate(database) => migrated(&database, 2).await.map(drop),
        Command::Stock(Stock::Set { sku, available, output, database }) => {
            if sku.is_empty() || sku.len() > 200 || sku.chars().any(char::is_control) {
                return Err(Failed::Sku(sku));
            }
            let pool = migrated(&database, 2).await?;
            stock::set(&pool, &sku, i64::from(available)).await?;
            let all = stock::list(&pool).await?;
            print(&output, all.into_iter().filter(|stock| stock.sku == sku).collect())
        }
        Command::Stock(Stock::List { output, database }) => {
            let pool = migrated(&database, 2).await?;
            print(&output, stock::list(&pool).await?)
        }
    }
}

async fn serve(options: Run) -> Result<(), Failed> {
    let drain = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut broker = BrokerOptions::new("", format!("shop {}", inventory::NAME));
    broker.urls = options.amqp_url;
    let read = |path: PathBuf| std::fs::read(&path).map_err(|why| Failed::Pem { path, why });
    if let Some(path) = options.amqp_ca {
        broker.ca = Some(std::fs::read_to_string(&path).map_err(|why| Failed::Pem { path, why })?);
    }
    if let (Some(certificate), Some(key)) = (options.amqp_client_cert, options.amqp_client_key) {
        broker.identity = Some((read(certificate)?, read(key)?));
    }
    let manage = match options.manage {
        Manage::Declare => Some(Mode::Declare),
        Manage::Check => Some(Mode::Check),
        Manage::Off => None,
    };
    // The last of the checks that need no server.
    broker.check().map_err(ServiceError::from)?;
    let spec = WorkSpec {
        prefetch: options.prefetch,
        concurrency: usize::from(options.concurrency),
        timeout: options.timeout,
        ..WorkSpec::default()
    };
    let pool = migrated(&options.database, u32::from(options.concurrency) + SPARE_CONNECTIONS).await?;
    let tracing = options.otlp_endpoint.filter(|endpoint| !endpoint.is_empty()).map(|endpoint| TraceOptions {
        endpoint,
        headers: Vec::new(),
        // Its traces begin elsewhere.
        sample: 0.0,
        service: inventory::NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: std::process::id().to_string(),
    });
    let service = Service::new(inventory::NAME, broker, pool.clone(), Names::new(&options.prefix))
        .manage(manage)
        .grace(options.grace)
        .tracing(tracing);
    let running = inventory::register(service, &pool, spec).run(drain.clone());
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drain.cancel();
    };
    let mut running = std::pin::pin!(running);
    tokio::select! {
        ended = &mut running => ended?,
        () = told => running.await?,
    }
    pool.close().await;
    Ok(())
}

/// A pool on a database that has the tables of this version.
async fn migrated(database: &Database, connections: u32) -> Result<PgPool, Failed> {
    let options = PgConnectOptions::from_str(&database.database_url).map_err(Failed::DatabaseUrl)?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options.application_name("shop"))
        .await?;
    messaging::migrate(&pool).await?;
    inventory::migrate(&pool).await?;
    Ok(pool)
}

fn print(output: &Output, all: Vec<stock::Stock>) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    if output.json {
        serde_json::to_writer(&mut out, &all).map_err(std::io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    writeln!(out, "{:<32} {:>12} {:>12}", "SKU", "AVAILABLE", "RESERVED")?;
    for stock in all {
        writeln!(out, "{:<32} {:>12} {:>12}", stock.sku, stock.available, stock.reserved)?;
    }
    Ok(())
}
