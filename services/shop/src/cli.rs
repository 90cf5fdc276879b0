//! Commands, flags and environment variables.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// The example shop: services that meet only on the broker, each with a Postgres database of its own.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub logging: Logging,
}

const EXAMPLES: &str = "\
Examples:
  export AMQP_URL=amqp://guest:guest@localhost:5672 DATABASE_URL=postgres://localhost/inventory
  shop migrate                        bring the tables up to date
  shop stock set tea 100              100 of `tea` are available
  shop stock list --json              what is left, as JSON
  shop inventory --concurrency 32     run the inventory service until SIGTERM
  shop all --log-format json          run every service in one process

Exit codes: 0 drained or done, 1 a start or a command failed, 2 the configuration is wrong.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the inventory service until SIGTERM or Ctrl-C.
    Inventory(Run),
    /// Run every service in one process.
    All(Run),
    /// Bring the services' tables up to date, and end.
    Migrate(Database),
    /// Look at the stock, or change it.
    #[command(subcommand)]
    Stock(Stock),
}

#[derive(Debug, Subcommand)]
pub enum Stock {
    /// Say how many of a product are available; makes the product.
    Set {
        /// Which product.
        sku: String,
        /// How many.
        available: u32,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        database: Database,
    },
    /// Show all products.
    List {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        database: Database,
    },
}

#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Database {
    /// postgres://user:password@host/database of the inventory service.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub database: Database,
    /// amqp://user:password@host:5672/vhost, or several with commas between them, tried in order.
    #[arg(long, env = "AMQP_URL", hide_env_values = true, value_delimiter = ',', required = true)]
    pub amqp_url: Vec<String>,
    /// PEM file of the authorities to trust for amqps; the system's when absent.
    #[arg(long, env = "AMQP_CA")]
    pub amqp_ca: Option<PathBuf>,
    /// PEM file of a certificate of ours, for brokers that ask for one.
    #[arg(long, env = "AMQP_CLIENT_CERT", requires = "amqp_client_key")]
    pub amqp_client_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, env = "AMQP_CLIENT_KEY", requires = "amqp_client_cert")]
    pub amqp_client_key: Option<PathBuf>,
    /// Who declares the queues: this process what is missing, or somebody else, and it only checks, or not even that.
    #[arg(long, env = "WARREN__TOPOLOGY__MANAGE", default_value = "declare")]
    pub manage: Manage,
    /// Goes before every name on the broker; the same as the hub's `broker.prefix`.
    #[arg(long, env = "WARREN__BROKER__PREFIX", default_value = "")]
    pub prefix: String,
    /// Handlers that run at one time, per queue.
    #[arg(long, env = "SHOP_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,
    /// Deliveries taken without an ack, per queue.
    #[arg(long, env = "SHOP_PREFETCH", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub prefetch: u16,
    /// How long one attempt may take.
    #[arg(long, env = "SHOP_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// A collector that speaks OTLP over HTTP, such as http://localhost:4318; without it nothing is traced.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// How long running work may go on after SIGTERM.
    #[arg(long, env = "SHOP_GRACE", default_value = "20s", value_parser = duration)]
    pub grace: Duration,
}

/// As the hub's `topology.manage`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Manage {
    /// Declares what is missing.
    Declare,
    /// Says what is missing, and works once all is there.
    Check,
    /// Neither.
    Off,
}

#[derive(Debug, Args)]
pub struct Logging {
    /// Which log lines: a level, or `target=level,...`.
    #[arg(long, env = "RUST_LOG", default_value = "info", global = true)]
    log: String,
    /// How log lines look, on standard error.
    #[arg(long, env = "SHOP_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// # Errors
/// When the filter is none.
pub fn start_logging(logging: &Logging) -> Result<(), String> {
    // lapin shouts about every channel it loses; whoever caused it reports what matters.
    let filter = EnvFilter::try_new(format!("lapin=off,sqlx=warn,{}", logging.log))
        .map_err(|why| format!("--log `{}`: {why}", logging.log))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match logging.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let duration = parsed.ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "write a number with its unit: 500ms, 20s, 2m".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_carry_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "20", "-1s", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
