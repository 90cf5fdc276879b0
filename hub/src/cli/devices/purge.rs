//! `warren devices purge`: some by name, or all that match.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use serde_json::json;

use super::super::Surroundings;
use super::super::client::{Hub, Reach};
use super::super::failure::Failure;
use super::super::print::talk;
use super::named::{Which, each};
use super::{name, table};
use crate::admin::view::{DeviceLine, DevicePage, Purged};

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").multiple(true).required(true)
    .args(["devices", "tenant", "user", "group", "label", "presence", "backlog"])))]
pub(in super::super) struct Purge {
    /// The devices, as <tenant>/<id>
    #[arg(conflicts_with_all = ["tenant", "user", "group", "label", "presence", "backlog", "yes"])]
    devices: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Why; kept in the log
    #[arg(long, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Tell what would go, and drop nothing
    #[arg(long)]
    dry_run: bool,
    /// With a filter: do not ask
    #[arg(long)]
    yes: bool,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Devices of a page, when all that match are looked for.
const PAGE: &str = "500";

impl Purge {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let hub = self.reach.hub(around)?;
        let devices = match self.devices.is_empty() {
            false => self.devices.clone(),
            true => {
                let found = self.find(&hub).await?;
                if !self.dry_run && !self.yes && !found.is_empty() {
                    agree(&found)?;
                }
                found.iter().map(name).collect()
            }
        };
        let told = |purged: &Purged| match purged.dry_run {
            true => format!("{} messages would be dropped", purged.messages),
            false => format!("{} messages were dropped", purged.messages),
        };
        let order = json!({ "reason": self.reason.clone().unwrap_or_default(), "dry_run": self.dry_run });
        each(&hub, &devices, "purge", &order, self.json, told).await
    }

    /// All that match and have something to get.
    async fn find(&self, hub: &Hub) -> Result<Vec<DeviceLine>, Failure> {
        let (mut found, mut cursor) = (Vec::<DeviceLine>::new(), None);
        loop {
            let mut query = self.which.query();
            query.extend([("order", Some("messages".to_owned())), ("limit", Some(PAGE.to_owned())), ("cursor", cursor)]);
            let page: DevicePage = hub.get(&["devices"], &query).await?;
            found.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let (messages, bytes) = sum(&found);
        talk(&format!("{} devices match, with {messages} messages of {bytes} bytes", found.len()));
        if !self.json && !found.is_empty() {
            talk(table(&found[..found.len().min(SAMPLE)]).trim_end());
        }
        Ok(found)
    }
}

/// Of what would go, so much is shown.
const SAMPLE: usize = 10;

fn sum(devices: &[DeviceLine]) -> (i64, i64) {
    devices.iter().fold((0, 0), |(messages, bytes), line| (messages + line.backlog, bytes + line.backlog_bytes))
}

fn agree(devices: &[DeviceLine]) -> Result<(), Failure> {
    let no = || Failure::failed("nothing was dropped");
    if !std::io::stdin().is_terminal() {
        let (messages, _) = sum(devices);
        let (many, shown) = (devices.len(), "add --yes to do it, or --dry-run to look");
        return Err(Failure::usage(format!("this would drop {messages} messages of {many} devices: {shown}")));
    }
    talk("drop them all? Type yes:");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|_| no())?;
    if line.trim() == "yes" { Ok(()) } else { Err(no()) }
}
