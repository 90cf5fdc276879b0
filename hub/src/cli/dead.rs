//! `warren dead`: dead letters, through the admin API.

mod audit;
mod discard;
mod edit;
mod groups;
mod many;
mod narrow;
mod redrive;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::Surroundings;
use super::client::Reach;
use super::failure::Failure;
use super::jobs::{tell_next, word};
use super::print::{self, Fields, Table, short, time};
use crate::admin::view::{DeadDetail, DeadLine, Encoding, Page};

#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// List dead letters, newest first
    #[command(after_help = "Examples:\n  warren dead list\n  warren dead list --queue jobs.orders.place --reason exhausted\n  \
                            warren dead list --state open --json | jq '.items | length'")]
    List(List),
    /// Group open dead letters by what they died of, the most first
    #[command(
        after_help = "Examples:\n  warren dead groups\n  warren dead groups --kind orders.place --json | jq -r '.items[].fingerprint'"
    )]
    Groups(groups::Groups),
    /// Show everything about one dead letter: headers, body, what was done to it
    #[command(after_help = "Examples:\n  warren dead show 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77\n  \
                            warren dead show 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 --json | jq -r .body")]
    Show(Show),
    /// Move dead letters back to their queues: some by id, or all open ones that match, from a set frozen and counted before
    #[command(after_help = "Examples:\n  warren dead redrive 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 --note 'the bank is back'\n  \
                            warren dead redrive --group 49956dcea5537768\n  \
                            warren dead redrive --kind orders.place --reason exhausted --since 2h --yes --json\n  \
                            warren dead redrive --all --queue jobs.orders.place --yes")]
    Redrive(redrive::Redrive),
    /// Give dead letters up for good, by id or all open ones that match; what was done and why is kept on record
    #[command(after_help = "Examples:\n  warren dead discard 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 --reason 'a test order'\n  \
                            warren dead discard --group 49956dcea5537768 --reason 'fixed by hand' --yes")]
    Discard(discard::Discard),
    /// Put a new job, or message if it is no job's, with another body in the place of a dead letter; the two know each other
    #[command(
        after_help = "Examples:\n  warren dead show 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 --json | jq -r .body > body.json\n  \
                            warren dead edit 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 --body @body.json --note 'the sku was misspelt'"
    )]
    Edit(edit::Edit),
    /// Show how far what was asked of many dead letters has come, and what was refused
    #[command(after_help = "Examples:\n  warren dead selection 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    Selection(many::Show),
    /// Show who did what to which dead letter, newest first
    #[command(after_help = "Examples:\n  warren dead audit --since 1d\n  warren dead audit --actor ann --json\n  \
                            warren dead audit --letter 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    Audit(audit::Audit),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    narrow: narrow::Narrow,
    /// Only those that died for this reason: rejected, exhausted, poison, undecodable, origin-gone, delivery-limit, ...
    #[arg(long)]
    reason: Option<String>,
    /// Only this state: open, redriving, redriven, discarded
    #[arg(long)]
    state: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on after the page that gave this as `next`
    #[arg(long, value_name = "ID")]
    cursor: Option<Uuid>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The dead letter
    id: String,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Dead {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(around).await,
            Self::Show(show) => {
                let letter: DeadDetail = show.reach.hub(around)?.get(&["dead-letters", &show.id], &[]).await?;
                if show.json { print::json(&letter) } else { print::data(&detail(&letter)) }
            }
            Self::Redrive(redrive) => redrive.run(around).await,
            Self::Discard(discard) => discard.run(around).await,
            Self::Groups(groups) => groups.run(around).await,
            Self::Edit(edit) => edit.run(around).await,
            Self::Selection(show) => show.run(around).await,
            Self::Audit(audit) => audit.run(around).await,
        }
    }
}

impl List {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let mut query = self.narrow.query();
        query.extend([
            ("reason", self.reason),
            ("state", self.state),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor.map(|id| id.to_string())),
        ]);
        let page: Page<DeadLine> = self.reach.hub(around)?.get(&["dead-letters"], &query).await?;
        if self.json {
            return print::json(&page);
        }
        print::data(&table(&page.items))?;
        tell_next(page.next);
        Ok(())
    }
}

fn table(letters: &[DeadLine]) -> String {
    let mut table = Table::new(["ID", "QUEUE", "REASON", "STATE", "ATTEMPT", "SIZE", "DIED", "ERROR"]);
    for letter in letters {
        table.row([
            letter.id.to_string(),
            letter.queue.clone(),
            letter.reason.clone(),
            word(letter.state),
            letter.attempt.to_string(),
            letter.size.to_string(),
            time(letter.died_at),
            short(&letter.error, 60),
        ]);
    }
    table.render()
}

/// The longest body that is shown in a terminal, in characters.
const SHOWN: usize = 4000;

fn detail(detail: &DeadDetail) -> String {
    let letter = &detail.letter;
    let body = match detail.encoding {
        Encoding::Text => short(&detail.body, SHOWN),
        Encoding::Base64 => format!("(base64) {}", short(&detail.body, SHOWN)),
    };
    let fields = Fields::default()
        .with("id", letter.id)
        .with("queue", &letter.queue)
        .with("kind", &letter.kind)
        .with("tenant", &letter.tenant)
        .with("message", &letter.message_id)
        .maybe("job", letter.job_id)
        .with("state", word(letter.state))
        .with("reason", &letter.reason)
        .with("code", &letter.code)
        .with("group", &letter.fingerprint)
        .with("error", &letter.error)
        .with("epoch", letter.epoch)
        .with("attempt", letter.attempt)
        .with("died", time(letter.died_at))
        .with("headers", &detail.headers)
        .with("body", format!("{} bytes of {}: {body}", letter.size, detail.content_type));
    if detail.audit.is_empty() {
        return fields.render();
    }
    let mut audit = Table::new(["AT", "WHO", "FROM", "TO", "NOTE"]);
    for entry in &detail.audit {
        audit.row([time(entry.at), entry.actor.clone(), word(entry.from), word(entry.to), entry.note.clone()]);
    }
    format!("{}\n{}", fields.render(), audit.render())
}
