//! `warren dead redrive`: some by id, or all that match.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Surroundings;
use super::super::client::{Denied, Hub, Reach};
use super::super::failure::Failure;
use super::super::jobs::word;
use super::super::print::{self, Table, talk};
use crate::admin::view::{DeadDetail, DeadLine, Page};

#[derive(Debug, Args)]
pub(in super::super) struct Redrive {
    /// The dead letters
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All open ones of a queue
    #[arg(long, requires = "queue")]
    all: bool,
    /// With --all: the work queue they came from
    #[arg(long, requires = "all")]
    queue: Option<String>,
    /// With --all: only those that died for this reason
    #[arg(long, requires = "all")]
    reason: Option<String>,
    /// With --all: do not ask
    #[arg(long, requires = "all")]
    yes: bool,
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
        let hub = self.reach.hub(around)?;
        let ids = if self.all { self.all_that_match(&hub).await? } else { self.ids.clone() };
        each(&hub, &ids, "redrive", json!({ "note": self.note, "force": self.force }), self.json).await
    }

    async fn all_that_match(&self, hub: &Hub) -> Result<Vec<String>, Failure> {
        let mut ids: Vec<String> = Vec::new();
        let mut cursor: Option<Uuid> = None;
        loop {
            let query = [
                ("queue", self.queue.clone()),
                ("reason", self.reason.clone()),
                ("state", Some("open".to_owned())),
                ("limit", Some("500".to_owned())),
                ("cursor", cursor.map(|id| id.to_string())),
            ];
            let page: Page<DeadLine> = hub.get(&["dead-letters"], &query).await?;
            ids.extend(page.items.iter().map(|letter| letter.id.to_string()));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let queue = self.queue.as_deref().unwrap_or_default();
        talk(&format!("{} open dead letters of {queue} match", ids.len()));
        if !ids.is_empty() && !self.yes {
            agree(ids.len())?;
        }
        // The oldest first: it waited longest.
        ids.reverse();
        Ok(ids)
    }
}

fn agree(count: usize) -> Result<(), Failure> {
    let no = || Failure::failed("nothing was moved");
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("this would move {count} dead letters: add --yes to do it")));
    }
    talk("Move them back? Type yes:");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|_| no())?;
    if line.trim() == "yes" { Ok(()) } else { Err(no()) }
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
