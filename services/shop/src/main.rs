//! `shop`: runs the services of the example shop, one or all of them in a process.
//!
//! Exit codes: 0 drained or done, 1 a start or a command failed, 2 the configuration is wrong.

mod cli;
mod run;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if let Err(why) = cli::start_logging(&cli.logging) {
        return failed(2, &why);
    }
    match run::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(if error.is_configuration() { 2 } else { 1 }, &error.to_string()),
    }
}

fn failed(code: u8, why: &str) -> ExitCode {
    use std::io::Write as _;
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr(), "shop: {why}");
    ExitCode::from(code)
}
