//! `warren topology apply`: makes the broker as the topology says, as far as that loses nothing.

use clap::Args;

use super::broker::{Compared, session};
use super::plan::What;
use super::{At, facts, show};
use crate::cli::Surroundings;
use crate::cli::client::Reach;
use crate::cli::failure::Failure;
use crate::cli::print::{self, talk};
use crate::topology::carry_out::{Hands, Outcome, carry_out};

#[derive(Debug, Args)]
pub(in crate::cli) struct Apply {
    #[command(flatten)]
    what: What,
    /// Do it although messages are lost, or somebody is at work on what goes
    #[arg(long, requires = "prune")]
    accept_loss: bool,
    /// Only show what would be done; ends with 0 whatever that is
    #[arg(long)]
    dry_run: bool,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    reach: Reach,
}

impl Apply {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.at.of(self.reach.settings().load(around)?)?;
        let mut compared = Compared::new(&config, self.what.prune, &self.what.owner, true).await?;
        let facts = facts::gather(&mut compared, &config, &self.reach, around).await;
        compared.weigh(&config, &facts);
        if self.dry_run {
            return match self.json {
                true => print::json(&compared.view(&config.broker.vhost_name())),
                false => print::data(&show::plan(&compared.plan)),
            };
        }
        // With --json stdout is the outcome's alone.
        talk(show::plan(&compared.plan).trim_end());
        if !compared.plan.losses.is_empty() && !self.accept_loss {
            let losses: Vec<String> =
                compared.plan.losses.iter().map(|loss| format!("{}: {}", loss.object, loss.message)).collect();
            return Err(Failure::failed(format!(
                "nothing was applied, since this would lose something: {}; --accept-loss does it all the same",
                print::shown(&losses.join("; "))
            )));
        }
        let amqp = session(&config).await?;
        let hands = Hands { link: &amqp.link, management: compared.management.as_ref(), accept_loss: self.accept_loss };
        let outcome = carry_out(&compared.plan, &compared.desired, &compared.live, &hands).await;
        amqp.close().await;
        if self.json {
            print::json(&outcome)?;
        } else {
            print::data(&lines(&outcome))?;
        }
        finished(&outcome)
    }
}

fn lines(outcome: &Outcome) -> String {
    let created = outcome.created.iter().map(|name| format!("created {name}\n"));
    let bound = (outcome.bindings > 0).then(|| format!("bound {}\n", outcome.bindings)).into_iter();
    let policies = outcome.policies.iter().map(|name| format!("set policy {name}\n"));
    let removed = outcome.removed.iter().map(|object| format!("removed {object}\n"));
    print::shown_lines(&created.chain(bound).chain(policies).chain(removed).collect::<String>())
}

fn finished(outcome: &Outcome) -> Result<(), Failure> {
    let Outcome { created, present, planned, applied, left, failed, .. } = outcome;
    for left in left {
        talk(&format!("left: {}", print::shown(left)));
    }
    if let Some(why) = failed {
        return Err(Failure::failed(format!("applied {applied} of {planned}, which stay; then: {}", print::shown(why))));
    }
    talk(&format!("{} created, {present} were there already; applied {applied} of {planned}", created.len()));
    match left.len() {
        0 => Ok(()),
        n => Err(Failure::failed(format!("{n} objects are not as they should be: see above, at `left`, what is yours to do"))),
    }
}
