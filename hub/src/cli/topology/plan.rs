//! `warren topology plan`: what `apply` would do, and what it would lose.

use clap::Args;

use super::broker::Compared;
use super::{At, facts, show};
use crate::cli::Surroundings;
use crate::cli::client::Reach;
use crate::cli::failure::Failure;
use crate::cli::print;

#[derive(Debug, Args)]
pub(in crate::cli) struct Plan {
    #[command(flatten)]
    what: What,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    reach: Reach,
}

/// What is to go besides.
#[derive(Debug, Args)]
pub(super) struct What {
    /// Remove what carries our mark and is in the configuration no more
    #[arg(long)]
    pub(super) prune: bool,
    /// An owner whose last object has left the configuration; give it several times
    #[arg(long, value_name = "NAME", requires = "prune")]
    pub(super) owner: Vec<String>,
}

/// Exit code of a command that found differences.
pub(super) const DIFFERENT: u8 = 2;

impl Plan {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.reach.settings().load(around).and_then(|config| self.at.of(config)).map_err(Failure::into_error)?;
        let mut compared = Compared::new(&config, self.what.prune, &self.what.owner, true).await.map_err(Failure::into_error)?;
        let facts = facts::gather(&mut compared, &config, &self.reach, around).await;
        compared.weigh(&config, &facts);
        if self.json {
            print::json(&compared.view(&config.broker.vhost_name()))?;
        } else {
            print::data(&show::plan(&compared.plan))?;
        }
        if compared.plan.is_empty() {
            return compared.told();
        }
        let then = match compared.plan.losses.is_empty() {
            true => "`warren topology apply` makes it so",
            false => "what would be lost is told above, and `warren topology apply` refuses it without --accept-loss",
        };
        Err(Failure::with_code(DIFFERENT, format!("the broker differs from the topology: {then}")))
    }
}
