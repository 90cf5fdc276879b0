//! `warren dead discard`: some by id, or all that match.

use clap::Args;
use serde_json::json;

use super::super::Surroundings;
use super::super::client::Reach;
use super::super::failure::Failure;
use super::many::{Ask, act};
use super::narrow::Narrow;
use super::redrive::each;

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").multiple(true).required(true)
    .args(["ids", "queue", "kind", "code", "group", "tenant", "since", "until", "text"])))]
pub(in super::super) struct Discard {
    /// The dead letters
    #[arg(conflicts_with_all = ["queue", "kind", "code", "group", "tenant", "since", "until", "text", "yes", "rate"])]
    ids: Vec<String>,
    #[command(flatten)]
    narrow: Narrow,
    /// Why; kept on record
    #[arg(long)]
    reason: String,
    /// With a filter: do not ask
    #[arg(long)]
    yes: bool,
    /// With a filter: letters per second, at most [default: 100]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: Option<u32>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Discard {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        if !self.ids.is_empty() {
            let hub = self.reach.hub(around)?;
            return each(&hub, &self.ids, "discard", json!({ "reason": self.reason }), self.json).await;
        }
        let order = json!({ "reason": self.reason, "rate": self.rate });
        let (filter, reach) = (self.narrow.body(None), &self.reach);
        act(Ask { verb: "discard", filter, order, yes: self.yes, json: self.json, reach }, around).await
    }
}
