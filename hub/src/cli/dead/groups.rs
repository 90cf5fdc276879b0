//! `warren dead groups`.

use clap::Args;

use super::super::Surroundings;
use super::super::client::Reach;
use super::super::failure::Failure;
use super::super::print::{self, Table, short, talk, time};
use crate::admin::view::{GroupLine, GroupPage};

#[derive(Debug, Args)]
pub(in super::super) struct Groups {
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only those that died for this reason
    #[arg(long)]
    reason: Option<String>,
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Pages that are read: 2000 groups.
const PAGES: usize = 10;

impl Groups {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let hub = self.reach.hub(around)?;
        let mut all = GroupPage { items: Vec::new(), next: None };
        for _ in 0..PAGES {
            let query = [
                ("kind", self.kind.clone()),
                ("reason", self.reason.clone()),
                ("tenant", self.tenant.clone()),
                ("limit", Some("200".to_owned())),
                ("cursor", all.next.take()),
            ];
            let page: GroupPage = hub.get(&["dead-letters", "groups"], &query).await?;
            all.items.extend(page.items);
            all.next = page.next;
            if all.next.is_none() {
                break;
            }
        }
        all.items.sort_by_key(|group| std::cmp::Reverse((group.count, group.last_seen)));
        if self.json {
            return print::json(&all);
        }
        print::data(&table(&all.items))?;
        if all.next.is_some() {
            talk("there are more groups than are shown: add --kind or --reason");
        }
        Ok(())
    }
}

fn table(groups: &[GroupLine]) -> String {
    let mut table = Table::new(["GROUP", "OPEN", "KIND", "REASON", "FIRST", "LAST", "ERROR"]);
    for group in groups {
        table.row([
            group.fingerprint.clone(),
            format!("{}{}", group.count, if group.at_least { "+" } else { "" }),
            group.kind.clone(),
            group.reason.clone(),
            time(group.first_seen),
            time(group.last_seen),
            short(&group.title, 80),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_count_that_stopped_says_so() {
        let line = r#"{"fingerprint":"49956dcea5537768","title":"smtp: <n>","kind":"mail","reason":"exhausted","code":"smtp",
            "queue":"jobs.mail","count":10000,"at_least":true,"first_seen":"2026-01-02T03:04:05Z",
            "last_seen":"2026-01-02T03:04:06.5Z","example":"01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77"}"#;
        let shown = table(&[serde_json::from_str(line).unwrap()]);
        let row: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[..4], ["49956dcea5537768", "10000+", "mail", "exhausted"]);
    }
}
