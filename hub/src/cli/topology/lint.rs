//! `warren topology lint`: what is wrong with the topology, before a broker is told of it.

use broker_topology::Severity;
use clap::Args;

use super::super::Surroundings;
use super::super::failure::Failure;
use super::super::print::{self, talk};
use super::super::settings::Settings;
use crate::config::{Fault, Problem};

#[derive(Debug, Args)]
pub(in crate::cli) struct Lint {
    /// Fail when there are warnings, too
    #[arg(long)]
    strict: bool,
    /// For programs: a list of findings, empty when there is none
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Lint {
    pub(super) fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let (config, found) = self.settings.examine(around);
        // What is wrong elsewhere is for `config check` to tell, unless it keeps the topology from being looked at.
        let of_topology = |finding: &Problem| matches!(finding.fault, Fault::Topology(_));
        let looked_at = config.is_some() || found.iter().any(of_topology);
        let found: Vec<Problem> = found.into_iter().filter(|finding| !looked_at || of_topology(finding)).collect();
        let errors = found.iter().filter(|finding| finding.severity == Severity::Error).count();
        let warnings = found.len() - errors;
        if self.json {
            print::json(&found)?;
        } else {
            let line = |finding: &Problem| match finding.severity {
                Severity::Error => format!("error: {finding}\n"),
                Severity::Warning => format!("warning: {finding}\n"),
            };
            print::data(&found.iter().map(line).collect::<String>())?;
        }
        let counted = format!("{errors} errors, {warnings} warnings");
        if errors > 0 || self.strict && warnings > 0 {
            return Err(Failure::failed(counted));
        }
        talk(&counted);
        Ok(())
    }
}
