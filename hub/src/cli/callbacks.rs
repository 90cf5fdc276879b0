//! `warren callbacks`: who is told of the end of jobs, through the admin API.

use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::Surroundings;
use super::client::{Denied, Reach};
use super::failure::Failure;
use super::jobs::{tell_next, word};
use super::print::{self, Fields, Table, short, talk, time};
use crate::admin::view::{CallbackDetail, CallbackLine, Page, StopLine};

#[derive(Debug, Subcommand)]
pub(super) enum Callbacks {
    /// List callbacks, newest job first
    #[command(
        after_help = "Examples:\n  warren callbacks list --state failed\n  warren callbacks list --json | jq '.items[].url'"
    )]
    List(List),
    /// Show everything about the callback of a job
    #[command(after_help = "Examples:\n  warren callbacks show 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    Show(Show),
    /// Call again what was delivered or given up: at once, and with a schedule from the beginning
    #[command(
        after_help = "Examples:\n  warren callbacks redrive 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 --note 'the receiver is back'\n  \
                            warren callbacks list --state failed --json | jq -r '.items[].job' | xargs warren callbacks redrive"
    )]
    Redrive(Redrive),
    /// List the addresses that have answered 410 and are not called
    #[command(after_help = "Examples:\n  warren callbacks disabled")]
    Disabled(Disabled),
    /// Let an address be called again that has answered 410
    ///
    /// What was given up for it meanwhile stays so until it is redriven.
    #[command(
        after_help = "Examples:\n  warren callbacks enable --tenant acme https://example.com/hook --note 'they moved back'"
    )]
    Enable(Enable),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this state: waiting, owed, delivered, failed, disabled
    #[arg(long)]
    state: Option<String>,
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on after the page that gave this as `next`
    #[arg(long, value_name = "ID")]
    cursor: Option<Uuid>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The job
    job: String,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Redrive {
    /// The jobs
    #[arg(required = true)]
    jobs: Vec<String>,
    /// Why; kept on record
    #[arg(long, default_value = "")]
    note: String,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Disabled {
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Enable {
    /// The address, as `warren callbacks disabled` shows it
    url: String,
    /// Whose callbacks may call it
    #[arg(long)]
    tenant: String,
    /// Why; kept on record
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    reach: Reach,
}

impl Callbacks {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(around).await,
            Self::Show(show) => {
                let callback: CallbackDetail = show.reach.hub(around)?.get(&["callbacks", &show.job], &[]).await?;
                if show.json { print::json(&callback) } else { print::data(&detail(&callback)) }
            }
            Self::Redrive(redrive) => redrive.run(around).await,
            Self::Disabled(disabled) => {
                let query = [("tenant", disabled.tenant)];
                let page: Page<StopLine> = disabled.reach.hub(around)?.get(&["callbacks", "disabled"], &query).await?;
                if disabled.json { print::json(&page) } else { print::data(&stops(&page.items)) }
            }
            Self::Enable(enable) => {
                let body = json!({ "tenant": enable.tenant, "url": enable.url, "note": enable.note });
                let _: StopLine = enable.reach.hub(around)?.post(&["callbacks", "enable"], body).await?;
                talk(&format!("{} is called again for {}", enable.url, enable.tenant));
                Ok(())
            }
        }
    }
}

impl List {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let query = [
            ("state", self.state),
            ("tenant", self.tenant),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor.map(|id| id.to_string())),
        ];
        let page: Page<CallbackLine> = self.reach.hub(around)?.get(&["callbacks"], &query).await?;
        if self.json {
            return print::json(&page);
        }
        print::data(&table(&page.items))?;
        tell_next(page.next);
        Ok(())
    }
}

impl Redrive {
    /// One that is refused does not keep the others from being called.
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let hub = self.reach.hub(around)?;
        let (mut done, mut refused) = (Vec::<CallbackDetail>::new(), 0);
        for job in &self.jobs {
            match hub.post(&["callbacks", job, "redrive"], json!({ "note": self.note })).await {
                Ok(callback) => done.push(callback),
                Err(Denied::Refused(why)) => {
                    talk(&format!("warren: {job}: {why}"));
                    refused += 1;
                }
                Err(Denied::Broken(failure)) => return Err(failure),
            }
        }
        if self.json {
            print::json(&json!({ "items": done }))?;
        } else if !done.is_empty() {
            print::data(&table(&done.into_iter().map(|callback| callback.line).collect::<Vec<_>>()))?;
        }
        match refused {
            0 => Ok(()),
            _ => Err(Failure::failed(format!("{refused} of {} were refused, for the reasons above", self.jobs.len()))),
        }
    }
}

fn table(callbacks: &[CallbackLine]) -> String {
    let mut table = Table::new(["JOB", "TENANT", "STATE", "CALLS", "NEXT", "URL", "ERROR"]);
    for line in callbacks {
        table.row([
            line.job.to_string(),
            line.tenant.clone(),
            word(line.state),
            line.calls.to_string(),
            line.next_at.map(time).unwrap_or_default(),
            short(&line.url, 100),
            short(line.error.as_deref().unwrap_or_default(), 100),
        ]);
    }
    table.render()
}

fn stops(stops: &[StopLine]) -> String {
    let mut table = Table::new(["TENANT", "URL", "SINCE", "JOB"]);
    for stop in stops {
        table.row([
            stop.tenant.clone(),
            stop.url.clone(),
            time(stop.since),
            stop.job.map(|id| id.to_string()).unwrap_or_default(),
        ]);
    }
    table.render()
}

fn detail(callback: &CallbackDetail) -> String {
    let line = &callback.line;
    let fields = Fields::default()
        .with("job", line.job)
        .with("tenant", &line.tenant)
        .with("url", &line.url)
        .with("state", word(line.state))
        .with("epoch", callback.epoch)
        .with("calls", line.calls)
        .maybe("next", line.next_at.map(time))
        .with("updated", time(line.updated_at));
    let mut text = fields.render();
    if !callback.history.is_empty() {
        let mut table = Table::new(["CALLED", "STATUS", "TOOK", "ERROR"]);
        for call in &callback.history {
            let status = call.status.map(|status| status.to_string()).unwrap_or_default();
            let error = short(call.error.as_deref().unwrap_or_default(), 200);
            table.row([time(call.at), status, format!("{} ms", call.took_ms), error]);
        }
        text = format!("{text}\n{}", table.render());
    }
    if !callback.record.is_empty() {
        let mut table = Table::new(["AT", "WHO", "WHAT", "NOTE"]);
        for deed in &callback.record {
            table.row([time(deed.at), deed.actor.clone(), deed.action.clone(), deed.note.clone()]);
        }
        text = format!("{text}\n{}", table.render());
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_callback_is_shown_with_its_calls_and_who_did_what() {
        let callback: CallbackDetail = serde_json::from_str(
            r#"{"job":"01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77","tenant":"acme","url":"https://example.com/hook?k=1","state":"owed",
                "calls":1,"next_at":"2026-01-02T03:04:11Z","error":"http-503: answered 503","updated_at":"2026-01-02T03:04:06Z","epoch":1,
                "history":[{"at":"2026-01-02T03:04:05Z","status":503,"error":"http-503: answered 503","took_ms":12}],
                "record":[{"at":"2026-01-02T03:04:00Z","actor":"olga","action":"redrive","note":"back"}]}"#,
        )
        .unwrap();
        let text = detail(&callback);
        assert!(text.contains("url      https://example.com/hook?k=1\nstate    owed\n"), "{text}");
        assert!(text.contains("2026-01-02T03:04:05Z  503     12 ms  http-503: answered 503\n"), "{text}");
        assert!(text.ends_with("2026-01-02T03:04:00Z  olga  redrive  back\n"), "{text}");
    }
}
