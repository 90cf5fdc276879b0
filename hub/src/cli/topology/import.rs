//! `warren topology import`: a file of definitions onto a broker, and a look at whether it now has them.
//!
//! RabbitMQ leaves a queue or exchange that is there already as it is, whatever the file says of it, and answers that all is well; when it
//! refuses one object, others are there already. So what the broker has is read back and compared, as [`Plan`] compares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use broker_topology::{Live, LiveBinding, LiveExchange, LivePolicy, LiveQueue, Plan};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::Surroundings;
use super::super::failure::Failure;
use super::super::print::{self, talk};
use super::super::settings::Settings;
use super::show;
use crate::management::{Management, ManagementError};
use crate::topology::live;

/// Through the management API, as a user with the tag `administrator`. Again, it changes nothing but policies that somebody changed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// What `warren topology export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What is compared of definitions. The rest, such as users, goes to the broker as it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Definitions {
    vhosts: Vec<Vhost>,
    queues: Vec<Placed<LiveQueue>>,
    exchanges: Vec<Placed<LiveExchange>>,
    bindings: Vec<Placed<LiveBinding>>,
    policies: Vec<Placed<LivePolicy>>,
}

#[derive(Deserialize)]
struct Vhost {
    name: String,
}

/// An object, and where.
#[derive(Deserialize)]
struct Placed<T> {
    vhost: String,
    #[serde(flatten)]
    object: T,
}

#[derive(Serialize)]
struct Imported {
    queues: usize,
    exchanges: usize,
    bindings: usize,
    policies: usize,
}

impl Import {
    pub(in crate::cli) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.settings.load(around)?;
        let (whole, given) = read(&self.file)?;
        let vhost = config.broker.vhost_name();
        let file = self.file.display();
        let Some(given) = given.of(&vhost) else {
            return Err(Failure::usage(format!(
                "{file} is not for the virtual host `{vhost}` that broker.url and broker.vhost name: write it anew with `warren topology export`"
            )));
        };
        let management = Management::new(&config.broker).map_err(Failure::usage)?;
        let posted = management.post(&["definitions"], &whole).await;
        if let Err(error) = &posted
            && !is_half_way(error)
        {
            return Err(Failure::failed(error.to_string()));
        }
        let lacking = lacking(&management, &given).await;
        if let Err(refused) = posted {
            let what = match lacking {
                Ok(plan) if plan.is_empty() => {
                    "all of it is there nevertheless, of what is not a user or a permission".to_owned()
                }
                Ok(plan) => format!("what is said above is not there or other than it says ({}), the rest is", plan.steps.len()),
                Err(error) => format!("what of it is there is unknown: {error}"),
            };
            return Err(Failure::failed(format!("{refused}; of {file} {what}. Put that right and import again, which goes on")));
        }
        let plan = lacking.map_err(|error| Failure::failed(format!("{file} was imported, and cannot be compared: {error}")))?;
        if !plan.is_empty() {
            return Err(Failure::failed(format!(
                "the broker at {} has not become what {file} says, in {} respects: see above; what was missing is there now, what was there \
                 is as it was. `warren topology plan` has the remedy for each, or delete what differs while it is empty and unused, and import \
                 again",
                management.at(),
                plan.steps.len()
            )));
        }
        let Live { queues, exchanges, bindings, policies, .. } = &given;
        let imported = Imported {
            queues: queues.len(),
            exchanges: exchanges.len(),
            bindings: bindings.len(),
            policies: policies.iter().flatten().count(),
        };
        if self.json {
            return print::json(&imported);
        }
        let Imported { queues, exchanges, bindings, policies } = imported;
        talk(&format!(
            "{} has the {queues} queues, {exchanges} exchanges, {bindings} bindings and {policies} policies of {file}",
            management.at(),
        ));
        Ok(())
    }
}

/// Whether the broker may have done some of it: it works object by object, and goes on when nobody waits for its answer.
fn is_half_way(error: &ManagementError) -> bool {
    matches!(error, ManagementError::Refused { .. } | ManagementError::Slow { .. })
}

/// What the broker has not, or otherwise, each told in a line.
async fn lacking(management: &Management, given: &Live) -> Result<Plan, ManagementError> {
    let (live, unseen) = live::read(management).await?;
    let plan = Plan::after_import(given, &live);
    for line in show::drift(&plan).lines() {
        talk(line);
    }
    for unseen in unseen {
        talk(&format!("not seen: {unseen}"));
    }
    Ok(plan)
}

impl Definitions {
    /// Those of one virtual host; `None` when it is not in the file.
    fn of(self, vhost: &str) -> Option<Live> {
        fn here<T>(vhost: &str, all: Vec<Placed<T>>) -> impl Iterator<Item = T> {
            all.into_iter().filter(move |placed| placed.vhost == vhost).map(|placed| placed.object)
        }
        self.vhosts.iter().find(|named| named.name == vhost)?;
        let exchanges: BTreeMap<_, _> = here(vhost, self.exchanges).map(|found| (found.name.clone(), found)).collect();
        let queues: BTreeMap<_, _> = here(vhost, self.queues).map(|found| (found.name.clone(), found)).collect();
        let (bindings, policies) = (here(vhost, self.bindings).collect(), Some(here(vhost, self.policies).collect()));
        Some(Live { exchanges, queues, bindings, policies, ..Live::default() })
    }
}

fn read(path: &Path) -> Result<(Value, Definitions), Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let unusable = |error: serde_json::Error| {
        Failure::usage(format!("{} holds no definitions: {error}; write them with `warren topology export`", path.display()))
    };
    let whole: Value = serde_json::from_str(&text).map_err(unusable)?;
    let given = Definitions::deserialize(&whole).map_err(unusable)?;
    Ok((whole, given))
}
