//! `warren doctor`: findings, worst first, each with its remedy.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::Surroundings;
use super::failure::Failure;
use super::print::{self, shown, talk};
use super::settings::Settings;
use crate::doctor::{self, Finding, Severity};

/// Changes nothing. What it may not see it says, and looks at the rest.
///
/// Exit codes: 0 nothing worse than warnings, 1 an error was found or the broker could not be looked at, 2 wrong usage or configuration.
/// docs/doctor.md lists all that may be found, by code.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  warren doctor\n  warren doctor --config /etc/warren/warren.toml --severity warning --strict\n  \
                        warren doctor --json | jq -r '.findings[] | [.severity, .code, .object] | @tsv'\n  \
                        warren doctor --set broker.management_url=http://monitor:secret@rabbit:15672"
)]
pub(super) struct Doctor {
    /// For programs
    #[arg(long)]
    json: bool,
    /// Show only what is at least so bad; the exit code goes by all
    #[arg(long, value_name = "SEVERITY", default_value = "info")]
    severity: Severity,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What `--json` prints; the counts are of all findings, shown or not.
#[derive(Serialize)]
struct Report<'a> {
    errors: usize,
    warnings: usize,
    infos: usize,
    findings: Vec<&'a Finding>,
}

impl Doctor {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.settings.load(around)?;
        let findings = doctor::examine(&config).await.map_err(Failure::usage)?;
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings, infos) = (count(Severity::Error), count(Severity::Warning), count(Severity::Info));
        let shown: Vec<&Finding> = findings.iter().filter(|finding| finding.severity >= self.severity).collect();
        match self.json {
            true => print::json(&Report { errors, warnings, infos, findings: shown })?,
            false => print::data(&rendered(&shown))?,
        }
        let summary = format!("{errors} errors, {warnings} warnings, {infos} for information");
        match (errors, warnings) {
            (0, 0) => talk(&summary),
            (0, _) if !self.strict => talk(&summary),
            _ => return Err(Failure::failed(format!("{summary}; docs/doctor.md says more of each code"))),
        }
        Ok(())
    }
}

/// What a broker said is for people's eyes only once it is no longer fit for their terminals.
fn rendered(findings: &[&Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding { severity, code, object, found, why, remedy } = finding;
        let _ = write!(
            text,
            "{:<7}  {code}  {}\n         found   {}\n         why     {why}\n         remedy  {}\n\n",
            severity.as_str(),
            shown(object),
            shown(found),
            shown(remedy),
        );
    }
    text
}
