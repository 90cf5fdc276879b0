//! `warren kinds`: what can be submitted, and whether it is delivered, through the admin API.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Surroundings;
use super::client::Reach;
use super::failure::Failure;
use super::jobs::word;
use super::print::{self, Table, short, talk, time};
use crate::admin::view::{KindLine, Page};

#[derive(Debug, Subcommand)]
pub(super) enum Kinds {
    /// List the kinds of job, and which are paused
    #[command(after_help = "Examples:\n  warren kinds list\n  warren kinds list --json | jq '.items[] | select(.paused)'")]
    List(List),
    /// Accept jobs of a kind as ever, and deliver none until it is resumed
    ///
    /// What runs goes on to its end. Deadlines go on. Services go on with what is in their queue. A pause survives restarts, and
    /// every hub process heeds it within about a second.
    #[command(after_help = "Examples:\n  warren kinds pause orders.place --note 'the warehouse is down'")]
    Pause(Switch),
    /// Deliver jobs of a kind again
    #[command(after_help = "Examples:\n  warren kinds resume orders.place")]
    Resume(Switch),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Switch {
    /// The kind
    kind: String,
    /// Why; kept on record
    #[arg(long, default_value = "")]
    note: String,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Kinds {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let page: Page<KindLine> = list.reach.hub(around)?.get(&["kinds"], &[]).await?;
                if list.json { print::json(&page) } else { print::data(&table(&page.items)) }
            }
            Self::Pause(switch) => switch.run(around, "pause").await,
            Self::Resume(switch) => switch.run(around, "resume").await,
        }
    }
}

impl Switch {
    async fn run(self, around: &Surroundings, what: &str) -> Result<(), Failure> {
        let kind: KindLine = self.reach.hub(around)?.post(&["kinds", &self.kind, what], json!({ "note": self.note })).await?;
        if self.json {
            return print::json(&kind);
        }
        talk(&format!("{} is {}", kind.kind, if kind.paused { "paused" } else { "delivered" }));
        Ok(())
    }
}

fn table(kinds: &[KindLine]) -> String {
    let mut table = Table::new(["KIND", "WORKER", "PAUSED", "SINCE", "BY", "NOTE"]);
    for kind in kinds {
        table.row([
            kind.kind.clone(),
            word(kind.worker),
            if kind.paused { "yes".to_owned() } else { "no".to_owned() },
            kind.since.map(time).unwrap_or_default(),
            kind.actor.clone().unwrap_or_default(),
            short(kind.note.as_deref().unwrap_or_default(), 100),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_paused_kind_shows_since_when_by_whom_and_why() {
        let kinds: Vec<KindLine> = serde_json::from_str(
            r#"[{"kind":"orders.place","worker":"rust","paused":true,"since":"2026-01-02T03:04:05Z","actor":"ann","note":"down"},
                {"kind":"other","worker":"amqp","paused":false}]"#,
        )
        .unwrap();
        let text = table(&kinds);
        assert_eq!(text.lines().nth(1).unwrap(), "orders.place  rust    yes     2026-01-02T03:04:05Z  ann  down");
        assert_eq!(text.lines().nth(2).unwrap(), "other         amqp    no");
    }
}
