//! `warren topology migrate`: queues made anew with other arguments, while everybody works.

use std::sync::Arc;
use std::time::Duration;

use broker_topology::{Destination, Names, Stage};
use clap::Args;
use jiff::{Span, SpanRelativeTo};
use messaging::connection::Link;
use messaging::metrics::Metrics;
use messaging::migration::{Migrated, Migration, MigrationError, Observer as _, Seen, migrate, see};
use messaging::publisher::{Publisher, PublisherOptions};
use prometheus::Registry;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::merged;
use crate::cli::Surroundings;
use crate::cli::failure::Failure;
use crate::cli::print::{self, shown, talk};
use crate::cli::settings::Settings;
use crate::config::Config;
use crate::hub;
use crate::management::Management;

/// RabbitMQ cannot change the arguments of a queue. This makes the queue anew as the configuration has it: its messages and bindings go to
/// a holding queue `warren.moving.<queue>`, the queue is deleted when it is at rest and made again, and all goes back. Publishers and
/// consumers go on; consumers wait while the queue comes to rest. Nothing that was confirmed is lost, messages in flight may come twice.
/// Ended at any moment, the same command goes on where it was. Needs the management API.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  warren topology migrate jobs.orders.place --plan\n  \
                        warren topology migrate jobs.orders.place warren.retry.30s --timeout 30m\n  \
                        warren topology migrate billing.invoices --json")]
pub(in crate::cli) struct Migrate {
    /// Queues of the configuration, one after the other
    #[arg(required = true, value_name = "QUEUE")]
    queues: Vec<String>,
    /// Until a queue must be empty and at rest; then all is put back
    #[arg(long, default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// How long a queue must be at rest before it is deleted: no less than its publishers wait for a confirm (Warren's own: 15s); 10s at least
    #[arg(long, default_value = "20s", value_parser = duration)]
    settle: Duration,
    /// Go on where the queue is to have a limit or a time to live that some of its messages do not outlast
    #[arg(long)]
    accept_loss: bool,
    /// Change nothing; show what would be done
    #[arg(long)]
    plan: bool,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = text.parse::<Span>().ok().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let read = read.and_then(|span| Duration::try_from(span).ok()).filter(|span| !span.is_zero() && span.as_secs() <= 86_400);
    read.ok_or_else(|| "write a time with its unit, up to a day, as in 30s".to_owned())
}

/// What is known of one queue before anything is done.
#[derive(Serialize)]
struct Planned {
    queue: String,
    /// `done`, `absent`, `collect`, `create`, `give back`: what comes next.
    stage: &'static str,
    changes: Vec<String>,
    messages: u64,
    /// Of them with consumers, or on their way as dead letters; absent when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_ready: Option<u64>,
    bindings: usize,
    held: u64,
    /// What the limits it is to have would drop; absent when they drop nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<String>,
}

impl Migrate {
    pub(in crate::cli) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        if self.timeout <= self.settle {
            return Err(Failure::usage("--timeout must be longer than --settle: a queue can only be done when it was at rest"));
        }
        let config = self.settings.load(around)?;
        let migrations = self.migrations(&config)?;
        let management = Management::new(&config.broker).map_err(Failure::usage)?;
        if self.plan {
            return self.plan(&management, &migrations).await;
        }
        let options = hub::broker::options(&config.broker).map_err(Failure::usage)?;
        hub::broker::reachable(&options)
            .await
            .map_err(|error| Failure::failed(format!("{error}; start the broker, or set broker.url")))?;
        let metrics = Metrics::new(&Registry::new());
        let metrics = Arc::new(metrics.map_err(|error| Failure::failed(error.to_string()))?);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let options = Arc::new(options);
        let link = Link::start(options.clone(), "migrate", &tasks, stop.clone(), metrics.clone());
        // Of its own: the broker reads nothing from a connection that publishes while it blocks publishers, not even acks.
        let publishing = Link::start(options, "migrate publish", &tasks, stop.clone(), metrics.clone());
        let publisher = Publisher::start(publishing, PublisherOptions::default(), &tasks, stop.clone(), metrics);
        let mut done = Vec::new();
        let mut failed = None;
        for migration in &migrations {
            let queue = &migration.queue.name;
            let say = |progress: &messaging::migration::Progress| talk(&format!("{queue}: {progress}"));
            match migrate(&link, &publisher, &management, migration, &say).await {
                Ok(migrated) => {
                    if !self.json {
                        print::data(&line(&migrated))?;
                    }
                    done.push(migrated);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        if self.json {
            print::json(&done)?;
        }
        failed.map_or(Ok(()), |error| Err(not_done(&error, &migrations, done.len())))
    }

    /// The queues, as the configuration has them.
    fn migrations(&self, config: &Config) -> Result<Vec<Migration>, Failure> {
        let topology = merged(config)?;
        let names = Names::new(&config.broker.prefix);
        let migration = |name: &String| {
            let queue = topology.queues.iter().find(|queue| queue.name == *name).ok_or_else(|| {
                let like = topology.queues.iter().map(|queue| queue.name.as_str());
                let nearest = like.max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
                let hint = nearest.map_or_else(String::new, |nearest| format!("; the nearest is `{nearest}`"));
                Failure::usage(format!("no queue `{}` is in the configuration{hint}", shown(name)))
            })?;
            let to = Destination::Queue(name.clone());
            Ok(Migration {
                queue: queue.clone(),
                bindings: topology.bindings.iter().filter(|binding| binding.destination == to).cloned().collect(),
                holding: names.moving(name),
                settle: self.settle,
                timeout: self.timeout,
                accept_loss: self.accept_loss,
            })
        };
        self.queues.iter().map(migration).collect()
    }

    async fn plan(&self, management: &Management, migrations: &[Migration]) -> Result<(), Failure> {
        let mut planned = Vec::new();
        for migration in migrations {
            let seen = see(management, migration).await.map_err(Failure::failed)?;
            let bindings = management.bindings(&migration.queue.name).await.map_err(Failure::failed)?;
            planned.push(Planned::of(migration, seen, bindings.len()));
        }
        if self.json {
            return print::json(&planned);
        }
        print::data(&planned.iter().map(Planned::lines).collect::<String>())
    }
}

/// Where it ended, when several were asked for.
fn not_done(error: &MigrationError, all: &[Migration], done: usize) -> Failure {
    let left = all.len() - done - 1;
    let text = match (done, left) {
        (0, 0) => error.to_string(),
        _ => format!("{error}; {done} of {} queues are done, {left} were not begun", all.len()),
    };
    Failure::failed(text)
}

fn line(migrated: &Migrated) -> String {
    let Migrated { queue, changes, collected, given_back } = migrated;
    match (changes.is_empty(), given_back + collected) {
        (true, 0) => format!("{queue} is as it should be\n"),
        (true, _) => format!("{queue} is made anew; {given_back} messages went back to it\n"),
        (false, _) => {
            format!("{queue} is made anew: {}; {collected} messages were moved, {given_back} back\n", changes.join(", "))
        }
    }
}

impl Planned {
    fn of(migration: &Migration, seen: Seen, bindings: usize) -> Self {
        let (stage, changes) = match seen.stage {
            Stage::Done => ("done", Vec::new()),
            Stage::Absent => ("absent", Vec::new()),
            Stage::Collect(changes) => ("collect", changes.iter().map(ToString::to_string).collect()),
            Stage::Create => ("create", Vec::new()),
            Stage::GiveBack => ("give back", Vec::new()),
        };
        let live = seen.live.unwrap_or_default();
        Self {
            queue: migration.queue.name.clone(),
            stage,
            changes,
            messages: live.messages,
            not_ready: live.held,
            bindings,
            held: seen.held.map_or(0, |held| held.messages),
            loss: seen.loss,
        }
    }

    fn lines(&self) -> String {
        let Self { queue, messages, bindings, held, .. } = self;
        let not_ready = self.not_ready.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
        let loss = self.loss.as_ref().map_or_else(String::new, |loss| format!("  {loss}: refused without --accept-loss\n"));
        match self.stage {
            "done" => format!("{queue} is as it should be\n"),
            "absent" => format!("{queue} is not on the broker: `warren topology apply` makes it\n"),
            "create" => format!("{queue} is to be made, and {held} held messages go back to it\n{loss}"),
            "give back" => format!("{queue} is made, and {held} held messages are to go back to it\n"),
            _ => format!(
                "{queue} is to be made anew: {}\n  {messages} messages are to be moved, {not_ready} of them not ready yet; {bindings} bindings\n{loss}",
                self.changes.join(", ")
            ),
        }
    }
}
