//! `warren dead redrive`: some by id, or all that match.

use clap::Args;
use serde_json::{Value, json};

use super::super::Surroundings;
use super::super::client::{Denied, Hub, Reach};
use super::super::failure::Failure;
use super::super::jobs::word;
use super::super::print::{self, Table, talk};
use super::many::{Ask, act};
use super::narrow::Narrow;
use crate::admin::view::DeadDetail;

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").multiple(true).required(true)
    .args(["ids", "queue", "kind", "code", "group", "tenant", "since", "until", "text", "reason"])))]
pub(in super::super) struct Redrive {
    /// The dead letters
    #[arg(conflicts_with_all =
        ["queue", "kind", "code", "group", "tenant", "since", "until", "text", "reason", "all", "yes", "rate"])]
    ids: Vec<String>,
    #[command(flatten)]
    narrow: Narrow,
    /// Only those that died for this reason
    #[arg(long)]
    reason: Option<String>,
    /// All open ones that match the filter, as without it
    #[arg(long)]
    all: bool,
    /// With a filter: do not ask
    #[arg(long)]
    yes: bool,
    /// With a filter: letters per second, at most [default: 100]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: Option<u32>,
    /// Why; kept on record
    #[arg(long, default_value = "")]
    note: String,
    /// Also those older than what consumers remember: a handler could repeat its effect
    #[arg(long)]
    force: bool,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Redrive {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let Self { note, force, json, .. } = &self;
        if !self.ids.is_empty() {
            let hub = self.reach.hub(around)?;
            return each(&hub, &self.ids, "redrive", json!({ "note": note, "force": force }), *json).await;
        }
        let order = json!({ "note": note, "force": force, "rate": self.rate });
        let (filter, reach) = (self.narrow.body(self.reason.as_ref()), &self.reach);
        act(Ask { verb: "redrive", filter, order, yes: self.yes, json: *json, reach }, around).await
    }
}

/// Does one thing to each of `ids`. What is refused does not stop the others, and makes the command fail in the end.
pub(super) async fn each(hub: &Hub, ids: &[String], verb: &str, body: Value, json: bool) -> Result<(), Failure> {
    let (mut done, mut refused, mut broken): (Vec<DeadDetail>, usize, Option<Failure>) = (Vec::new(), 0, None);
    for id in ids {
        match hub.post(&["dead-letters", id, verb], body.clone()).await {
            Ok(letter) => done.push(letter),
            Err(Denied::Refused(why)) => {
                talk(&format!("warren: {id}: {why}"));
                refused += 1;
            }
            Err(Denied::Broken(failure)) => {
                broken = Some(failure);
                break;
            }
        }
    }
    if json {
        print::json(&json!({ "items": done.iter().map(|detail| &detail.letter).collect::<Vec<_>>() }))?;
    } else if !done.is_empty() {
        let mut table = Table::new(["ID", "STATE", "QUEUE", "JOB"]);
        for DeadDetail { letter, .. } in &done {
            let job = letter.job_id.map(|id| id.to_string()).unwrap_or_default();
            table.row([letter.id.to_string(), word(letter.state), letter.queue.clone(), job]);
        }
        print::data(&table.render())?;
    }
    match broken {
        Some(failure) => Err(failure),
        None if refused > 0 => Err(Failure::failed(format!("{refused} of {} were refused, for the reasons above", ids.len()))),
        None => Ok(()),
    }
}
