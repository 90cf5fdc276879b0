//! `warren destinations`: how the services behind Warren stand, through the admin API.

use clap::{Args, Subcommand};

use super::Surroundings;
use super::client::Reach;
use super::failure::Failure;
use super::print::{self, Table, time};
use crate::admin::DestinationLine;
use crate::admin::view::Page;

#[derive(Debug, Subcommand)]
pub(super) enum Destinations {
    /// List what kinds with the worker `http` call, and which of it is held back
    #[command(
        after_help = "Examples:\n  warren destinations list\n  warren destinations list --json | jq '.items[] | select(.state == \"held\")'"
    )]
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Destinations {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let Self::List(list) = self;
        let page: Page<DestinationLine> = list.reach.hub(around)?.get(&["destinations"], &[]).await?;
        if list.json { print::json(&page) } else { print::data(&table(&page.items)) }
    }
}

fn table(destinations: &[DestinationLine]) -> String {
    let mut table = Table::new(["NAME", "STATE", "REASON", "SINCE", "TRIED AT", "KINDS"]);
    for line in destinations {
        table.row([
            line.name.clone(),
            line.state.clone(),
            line.reason.clone().unwrap_or_default(),
            line.since.map(time).unwrap_or_default(),
            line.probe_at.map(time).unwrap_or_default(),
            line.kinds.join(" "),
        ]);
    }
    table.render()
}
