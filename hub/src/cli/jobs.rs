//! `warren jobs`: what is in the store, through the admin API.

use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::Surroundings;
use super::client::{Denied, Reach};
use super::failure::Failure;
use super::print::{self, Fields, Table, short, talk, time};
use crate::admin::view::{JobDetail, JobLine, Page};

#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// List jobs, newest first
    #[command(after_help = "Examples:\n  warren jobs list\n  warren jobs list --kind orders.place --state dead --limit 20\n  \
                            warren jobs list --tenant acme --tag batch-7 --tag region=eu\n  \
                            warren jobs list --tenant acme --json | jq '.items[].id'")]
    List(List),
    /// Show everything about one job
    #[command(after_help = "Examples:\n  warren jobs show 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77\n  \
                            warren jobs show 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 --json | jq .history")]
    Show(Show),
    /// Cancel jobs: at once if they wait; if they run, their handlers are told
    #[command(after_help = "Examples:\n  warren jobs cancel 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    Cancel(Cancel),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only this state: scheduled, accepted, queued, running, retrying, succeeded, dead, cancelled, expired
    #[arg(long)]
    state: Option<String>,
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only jobs with this tag; give it several times, and they must have them all. Tags are each tenant's own: with a token for
    /// all tenants, add --tenant
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
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
    id: String,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// The jobs
    #[arg(required = true)]
    ids: Vec<String>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Jobs {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(around).await,
            Self::Show(show) => {
                let job: JobDetail = show.reach.hub(around)?.get(&["jobs", &show.id], &[]).await?;
                if show.json { print::json(&job) } else { print::data(&detail(&job)) }
            }
            Self::Cancel(cancel) => cancel.run(around).await,
        }
    }
}

impl Cancel {
    /// One that is refused does not keep the others from being asked for.
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let hub = self.reach.hub(around)?;
        let (mut jobs, mut refused, mut broken) = (Vec::<JobDetail>::new(), 0, None);
        for id in &self.ids {
            match hub.post(&["jobs", id, "cancel"], json!({})).await {
                Ok(job) => jobs.push(job),
                Err(Denied::Refused(why)) => {
                    talk(&format!("warren: {id}: {why}"));
                    refused += 1;
                }
                Err(Denied::Broken(failure)) => {
                    broken = Some(failure);
                    break;
                }
            }
        }
        if self.json {
            print::json(&json!({ "items": jobs }))?;
        } else if !jobs.is_empty() {
            print::data(&table(&jobs.into_iter().map(|job| job.job).collect::<Vec<_>>()))?;
        }
        match broken {
            Some(failure) => Err(failure),
            None if refused > 0 => {
                Err(Failure::failed(format!("{refused} of {} were refused, for the reasons above", self.ids.len())))
            }
            None => Ok(()),
        }
    }
}

impl List {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let query = [
            ("kind", self.kind),
            ("state", self.state),
            ("tenant", self.tenant),
            ("tag", (!self.tag.is_empty()).then(|| self.tag.join(","))),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor.map(|id| id.to_string())),
        ];
        let page: Page<JobLine> = self.reach.hub(around)?.get(&["jobs"], &query).await?;
        if self.json {
            return print::json(&page);
        }
        print::data(&table(&page.items))?;
        tell_next(page.next);
        Ok(())
    }
}

/// Says on stderr that there is more.
pub(super) fn tell_next(next: Option<Uuid>) {
    if let Some(next) = next {
        talk(&format!("there are more: add --cursor {next}"));
    }
}

fn table(jobs: &[JobLine]) -> String {
    let mut table = Table::new(["ID", "KIND", "TENANT", "STATE", "PRIORITY", "ATTEMPT", "REASON", "UPDATED"]);
    for job in jobs {
        table.row([
            job.id.to_string(),
            job.kind.clone(),
            job.tenant.clone(),
            word(job.state),
            job.priority.to_string(),
            job.attempt.to_string(),
            job.reason.clone().unwrap_or_default(),
            time(job.updated_at),
        ]);
    }
    table.render()
}

fn detail(detail: &JobDetail) -> String {
    let (job, payload) = (&detail.job, &detail.payload);
    let fields = Fields::default()
        .with("id", job.id)
        .with("kind", &job.kind)
        .with("tenant", &job.tenant)
        .with("subject", &payload.subject)
        .maybe("tags", (!job.tags.is_empty()).then(|| job.tags.join(", ")))
        .with("state", word(job.state))
        .with("priority", job.priority)
        .maybe("cancel", detail.cancel_requested.then_some("asked for"))
        .maybe("reason", job.reason.as_ref())
        .maybe("error", detail.error.as_ref())
        .with("epoch", job.epoch)
        .with("attempt", job.attempt)
        .with("starts", detail.starts)
        .with("interrupted", detail.interrupted)
        .with("accepted", time(job.accepted_at))
        .maybe("due", detail.due_at.map(time))
        .maybe("started", detail.started_at.map(time))
        .maybe("ended", detail.ended_at.map(time))
        .maybe("worker", detail.worker.as_ref())
        .maybe("http status", detail.http_status)
        .maybe("progress", detail.progress.as_ref().map(|said| format!("{} % {} ({})", said.percent, said.note, time(said.at))))
        .with("updated", time(job.updated_at))
        .with("deadline", time(detail.deadline))
        .with("payload", format!("{} bytes of {}", payload.size, payload.content_type))
        .maybe("traceparent", payload.traceparent.as_ref())
        .maybe("callback", detail.callback.map(word))
        .maybe("edited from", detail.edited_from)
        .maybe("edited to", detail.edited_to)
        .maybe("result", detail.result.as_ref());
    if detail.history.is_empty() {
        return fields.render();
    }
    let mut history = Table::new(["EPOCH", "ATTEMPT", "OUTCOME", "REASON", "HTTP", "WORKER", "STARTED", "ENDED", "ERROR"]);
    for attempt in &detail.history {
        history.row([
            attempt.epoch.to_string(),
            attempt.attempt.to_string(),
            attempt.times.map_or_else(|| attempt.outcome.clone(), |times| format!("{} {times} times", attempt.outcome)),
            attempt.reason.clone().unwrap_or_default(),
            attempt.http_status.map(|status| status.to_string()).unwrap_or_default(),
            attempt.worker.clone().unwrap_or_default(),
            attempt.started_at.map(time).unwrap_or_default(),
            time(attempt.ended_at),
            short(attempt.error.as_deref().unwrap_or_default(), 100),
        ]);
    }
    format!("{}\n{}", fields.render(), history.render())
}

/// A state as it is written everywhere.
pub(super) fn word(state: impl serde::Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_job_is_shown_with_its_history() {
        let job: JobDetail = serde_json::from_str(
            r#"{"id":"01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77","kind":"demo.flaky","tenant":"demo","state":"retrying","epoch":1,
                "attempt":2,"accepted_at":"2026-01-02T03:04:05.678Z","updated_at":"2026-01-02T03:04:06Z","starts":0,
                "interrupted":0,"lease":1,"deadline":"2026-01-03T03:04:05Z",
                "payload":{"subject":"ann","content_type":"application/json","size":2},
                "history":[{"epoch":1,"attempt":1,"ended_at":"2026-01-02T03:04:06Z","outcome":"failed","reason":"flaky",
                            "http_status":503,"worker":"north:7",
                            "error":"broke\u001b[2J"}]}"#,
        )
        .unwrap();
        let text = detail(&job);
        assert!(text.starts_with("id           01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77\nkind         demo.flaky\n"), "{text}");
        assert!(text.contains("payload      2 bytes of application/json\n"), "{text}");
        assert!(
            text.ends_with("\n1      1        failed   flaky   503   north:7           2026-01-02T03:04:06Z  broke?[2J\n"),
            "{text}"
        );
        assert_eq!(table(&[job.job]).lines().nth(1).unwrap().split_whitespace().nth(3), Some("retrying"));
    }
}
