//! `warren topology check`: whether somebody changed the broker.

use clap::Args;

use super::broker::Compared;
use super::plan::DIFFERENT;
use super::{At, show};
use crate::cli::Surroundings;
use crate::cli::failure::Failure;
use crate::cli::print::{self, talk};
use crate::cli::settings::Settings;

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    settings: Settings,
}

impl Check {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.settings.load(around).and_then(|config| self.at.of(config)).map_err(Failure::into_error)?;
        // What cannot be seen is no answer to whether it is as it should be.
        let compared = Compared::new(&config, false, &[], false).await.map_err(Failure::into_error)?;
        if self.json {
            print::json(&compared.view(&config.broker.vhost_name()))?;
        } else {
            print::data(&show::drift(&compared.plan))?;
            for unseen in &compared.plan.unseen {
                talk(&format!("not seen: {unseen}"));
            }
        }
        let drift = compared.plan.drift();
        if drift.is_none() {
            compared.told()?;
            talk("the broker is as the topology says");
            return Ok(());
        }
        let counted = drift.by_kind().into_iter().filter_map(|(kind, count)| Some((kind, count.filter(|count| *count > 0)?)));
        let counts: Vec<String> = counted.map(|(kind, count)| format!("{count} {kind}")).collect();
        let text = format!("the broker differs from the topology ({}): see `warren topology plan`", counts.join(", "));
        Err(Failure::with_code(DIFFERENT, text))
    }
}
