//! `warren dead audit`.

use clap::Args;
use jiff::Timestamp;
use uuid::Uuid;

use super::super::Surroundings;
use super::super::client::Reach;
use super::super::failure::Failure;
use super::super::jobs::word;
use super::super::print::{self, Table, talk, time};
use super::narrow::moment;
use crate::admin::view::{AuditPage, AuditRecordLine};

#[derive(Debug, Args)]
pub(in super::super) struct Audit {
    /// Only about this dead letter
    #[arg(long, value_name = "ID")]
    letter: Option<Uuid>,
    /// Only by this actor
    #[arg(long)]
    actor: Option<String>,
    /// Only about dead letters of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only then or later: a time, or how long ago, as in 2h, 7d
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// At most this many
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Go on after the page that gave this as `next`
    #[arg(long, value_name = "NUMBER")]
    cursor: Option<i64>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Audit {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let query = [
            ("letter", self.letter.map(|id| id.to_string())),
            ("actor", self.actor),
            ("tenant", self.tenant),
            ("since", self.since.map(|at| at.to_string())),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor.map(|number| number.to_string())),
        ];
        let page: AuditPage = self.reach.hub(around)?.get(&["audit"], &query).await?;
        if self.json {
            return print::json(&page);
        }
        print::data(&table(&page.items))?;
        if let Some(next) = page.next {
            talk(&format!("there are more: add --cursor {next}"));
        }
        Ok(())
    }
}

fn table(lines: &[AuditRecordLine]) -> String {
    let mut table = Table::new(["AT", "WHO", "LETTER", "FROM", "TO", "SELECTION", "NOTE"]);
    for AuditRecordLine { letter, selection, line, .. } in lines {
        table.row([
            time(line.at),
            line.actor.clone(),
            letter.to_string(),
            word(line.from),
            word(line.to),
            selection.map(|id| id.to_string()).unwrap_or_default(),
            line.note.clone(),
        ]);
    }
    table.render()
}
