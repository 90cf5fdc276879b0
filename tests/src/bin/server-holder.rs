//! Starts one private RabbitMQ and one private PostgreSQL, prints where they are, and waits to be
//! killed.
//!
//! The harness's own tests kill it with SIGKILL to see that both servers go with it. By hand it
//! gives two throw-away servers: `cargo run -p warren-tests --bin server-holder`, Ctrl-C ends them.

use std::io::Write as _;

use warren_tests::broker::Broker;
use warren_tests::postgres::Postgres;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (broker, postgres) = (Broker::dedicated().await, Postgres::dedicated().await);
    let database = postgres.database().await;
    let mut out = std::io::stdout();
    writeln!(out, "rabbitmq {} {}", broker.pid(), broker.admin_url())?;
    writeln!(out, "postgres {} {database}", postgres.pid())?;
    out.flush()?;
    std::future::pending().await
}
