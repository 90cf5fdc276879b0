//! `warren`: one binary, every role and command. It reads what the process was given and routes.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

use std::process::ExitCode;

use clap::Parser;
use warren_hub::cli::{Cli, Surroundings};

#[tokio::main]
async fn main() -> ExitCode {
    warren_hub::cli::run(Cli::parse(), Surroundings::of_process()).await
}
