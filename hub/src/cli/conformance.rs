//! `warren conformance`: whether a stranger's worker keeps to the contract.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use broker_topology::Kind;
use clap::{Args, Subcommand};
use jiff::{Span, SpanRelativeTo};
use reqwest::Url;

use super::Surroundings;
use super::failure::Failure;
use super::print;
use super::settings::Settings;
use super::signals::{Hangup, Stop};
use crate::config::Secret;
use crate::conformance::amqp::Amqp;
use crate::conformance::case::{Case, Ended};
use crate::conformance::http::Http;
use crate::conformance::payloads::Payloads;
use crate::conformance::report::{self, Tally};
use crate::conformance::{self, Limits, Trial, Unfit};

/// Exit codes: 0 all cases passed, 1 some failed, 2 wrong usage or nothing to play on, 3 none failed and some were not run.
#[derive(Debug, Subcommand)]
pub(super) enum Conformance {
    /// Put a worker that takes its jobs from the broker through its cases
    #[command(after_help = "Examples:\n  warren conformance amqp reports.build -- python worker.py\n  \
                            warren conformance amqp reports.build --amqp-url amqp://127.0.0.1/test --payload slow=long.json -- node worker.mjs\n  \
                            warren conformance amqp reports.build --case normal,retry --payload retry=flaky.json --junit out.xml\n\n\
                            The command gets AMQP_URL, WARREN_QUEUE, WARREN_RESULTS and WARREN_KIND in its environment. No hub may be at work \
                            on that vhost with those names.\n\n\
                            Exit codes: 0 all cases passed, 1 some failed, 2 wrong usage or nothing to play on, 3 none failed, some not run.")]
    Amqp(AmqpArgs),
    /// Put a service that is called over HTTP through its cases
    #[command(after_help = "Examples:\n  warren conformance http http://127.0.0.1:9000/reports --payload report.json\n  \
                            warren conformance http http://127.0.0.1:9000/reports --payload slow=long.json -- python service.py\n  \
                            warren conformance http https://reports.internal/build --header 'authorization=Bearer secret' --json\n\n\
                            The command gets PORT, that of the URL, and WARREN_KIND in its environment.\n\n\
                            Exit codes: 0 all cases passed, 1 some failed, 2 wrong usage or nothing to play on, 3 none failed, some not run.")]
    Http(HttpArgs),
}

#[derive(Debug, Args)]
pub(super) struct AmqpArgs {
    /// The kind of its jobs
    #[arg(value_parser = kind)]
    kind: Kind,
    /// The broker, over the configuration's `broker.url`
    #[arg(long, value_name = "URL")]
    amqp_url: Option<String>,
    /// Goes before all names on the broker, over the configuration's `broker.prefix`
    #[arg(long)]
    prefix: Option<String>,
    #[command(flatten)]
    trial: TrialArgs,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(super) struct HttpArgs {
    /// Where it is called, as in `http.url` of its kind
    #[arg(value_parser = url)]
    url: Url,
    /// What `ce-type` says
    #[arg(long, value_parser = kind, default_value = "conformance.job")]
    kind: Kind,
    /// Sent with each call, as in `http.headers` of its kind; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, Secret)>,
    #[command(flatten)]
    trial: TrialArgs,
}

#[derive(Debug, Args)]
struct TrialArgs {
    /// A job's payload, as FILE or NAME=FILE: normal, slow, progress, retry, oversize, poison; may be given several times
    #[arg(long, value_name = "[NAME=]FILE")]
    payload: Vec<String>,
    /// Only these cases, as in `normal,retry`: normal, duplicate, slow, progress, retry, poison, oversize, late-result, crash-and-restart, drain
    #[arg(long, value_name = "CASE,CASE", value_delimiter = ',', value_parser = case)]
    case: Vec<Case>,
    /// How long an answer, or the next word of the worker, may take
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// How long the worker may take to leave after SIGTERM
    #[arg(long, default_value = "30s", value_parser = duration)]
    grace: Duration,
    /// For programs: one array of cases, instead of lines
    #[arg(long)]
    json: bool,
    /// Also write JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Show what the worker writes, as it does; otherwise its last lines when a case fails
    #[arg(long)]
    verbose: bool,
    /// What starts the worker, in a process group of its own; without it the worker runs already, and cases that end it are not run
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).map_err(|error| error.to_string())
}

fn case(text: &str) -> Result<Case, String> {
    Case::named(text).ok_or_else(|| format!("the cases are {}", Case::ALL.map(Case::name).join(", ")))
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "write a URL such as http://127.0.0.1:9000/reports".to_owned())
}

fn header(text: &str) -> Result<(String, Secret), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_ascii_lowercase(), Secret::new(value))).ok_or_else(|| "write NAME=VALUE".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = text.parse::<Span>().ok().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let read = read.and_then(|span| Duration::try_from(span).ok()).filter(|span| !span.is_zero() && span.as_secs() <= 3600);
    read.ok_or_else(|| "write a time with its unit, up to an hour, as in 30s".to_owned())
}

impl Conformance {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::Amqp(asked) => asked.run(around).await,
            Self::Http(asked) => asked.run().await,
        }
    }
}

impl AmqpArgs {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let Self { kind, amqp_url, prefix, trial, settings } = self;
        let flag = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
        let flags: Vec<_> = flag("broker.url", amqp_url).into_iter().chain(flag("broker.prefix", prefix)).collect();
        let config = settings.load_with(around, &around.folder, &flags)?;
        let (payloads, limits, cases) = trial.read(&Case::ALL)?;
        let mut stop = Stop::listen(Hangup::Stops)?;
        let opening = Amqp::open(&config, &kind, trial.command.clone(), trial.verbose, payloads, limits);
        let mut amqp = tokio::select! {
            opened = opening => opened.map_err(unfit)?,
            code = stop.asked() => return Err(interrupted(code)),
        };
        let done = trial.put_through(&mut amqp, &cases, &mut stop).await;
        amqp.close().await;
        trial.tell(&format!("warren conformance amqp {kind}"), done?)
    }
}

impl HttpArgs {
    async fn run(self) -> Result<(), Failure> {
        let Self { url, kind, header, trial } = self;
        let (payloads, limits, cases) = trial.read(&Http::CASES)?;
        let headers: BTreeMap<String, Secret> = header.into_iter().collect();
        let name = format!("warren conformance http {}", url.path());
        let mut stop = Stop::listen(Hangup::Stops)?;
        let opening = Http::open(url, kind.to_string(), headers, trial.command.clone(), trial.verbose, payloads, limits);
        let mut http = tokio::select! {
            opened = opening => opened.map_err(unfit)?,
            code = stop.asked() => return Err(interrupted(code)),
        };
        let done = trial.put_through(&mut http, &cases, &mut stop).await;
        http.close().await;
        trial.tell(&name, done?)
    }
}

impl TrialArgs {
    fn read(&self, all: &[Case]) -> Result<(Payloads, Limits, Vec<Case>), Failure> {
        let payloads = Payloads::read(&self.payload).map_err(Failure::usage)?;
        if let Some(other) = self.case.iter().find(|case| !all.contains(case)) {
            return Err(Failure::usage(format!("there is no case `{other}` here")));
        }
        let asked = |case: &&Case| self.case.is_empty() || self.case.contains(case);
        let limits = Limits { timeout: self.timeout, grace: self.grace };
        Ok((payloads, limits, all.iter().filter(asked).copied().collect()))
    }

    async fn put_through(&self, trial: &mut impl Trial, cases: &[Case], stop: &mut Stop) -> Result<Vec<Ended>, Failure> {
        let told = |ended: &Ended| {
            if !self.json {
                // Whoever has read enough still wants the exit code.
                let _ = print::data(&report::line(ended));
            }
        };
        tokio::select! {
            done = conformance::run(trial, cases, told) => done.map_err(unfit),
            code = stop.asked() => Err(interrupted(code)),
        }
    }

    fn tell(&self, name: &str, cases: Vec<Ended>) -> Result<(), Failure> {
        if let Some(path) = &self.junit {
            let written = std::fs::write(path, report::as_junit(name, &cases));
            written.map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
        }
        let tally = Tally::of(&cases);
        match self.json {
            true => print::json(&report::as_json(&cases))?,
            false => print::data(&tally.line())?,
        }
        match tally {
            Tally { failed: 1.., .. } => Err(Failure::failed(format!("{} cases failed", tally.failed))),
            Tally { not_run: 1.., .. } => Err(Failure::with_code(3, format!("{} cases were not run", tally.not_run))),
            _ => Ok(()),
        }
    }
}

fn unfit(unfit: Unfit) -> Failure {
    Failure::usage(unfit.to_string())
}

fn interrupted(code: i32) -> Failure {
    Failure::with_code(u8::try_from(code).unwrap_or(1), "interrupted; the worker is ended")
}
