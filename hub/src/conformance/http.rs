//! A service over HTTP, put through its cases: called as the hub calls it.

mod cases;

use std::collections::BTreeMap;
use std::time::Duration;

use api_ack::relay::SOURCE;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use jiff::{SignedDuration, Timestamp};
use messaging::handler::Context;
use messaging::message::{Message, Run};
use messaging::results::MAX_RESULT;
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::case::{Case, Stop};
use super::command::{Command, Worker};
use super::payloads::Payloads;
use super::{Limits, Trial, Unfit};
use crate::config::{Completion, DestinationConfig, HttpCall, Method, Secret};
use crate::http_worker::request::Caller;
use crate::http_worker::retry_after;

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a service that starts is looked at, and one that asked for patience is called.
const GLANCE: Duration = Duration::from_millis(100);

/// A service at one address.
pub(crate) struct Http {
    caller: Caller,
    kind: String,
    address: (String, u16),
    command: Option<Command>,
    payloads: Payloads,
    limits: Limits,
    worker: Option<Worker>,
    notes: Vec<String>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Called {
    Answered(Answer),
    /// No whole answer, and why.
    Broken(String),
    TimedOut(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    /// No more than a result may have.
    body: Bytes,
    /// There was more.
    cut: bool,
    retry_after: Option<Duration>,
}

impl Http {
    /// All cases but progress, which a service has no way to report.
    pub(crate) const CASES: [Case; 9] = [
        Case::Normal,
        Case::Duplicate,
        Case::Slow,
        Case::Retry,
        Case::Poison,
        Case::Oversize,
        Case::LateResult,
        Case::CrashAndRestart,
        Case::Drain,
    ];

    /// For the service at `url`, called with `headers` besides the hub's own, which `words` start; one that runs already when there are
    /// none.
    ///
    /// # Errors
    /// When it cannot be called at all.
    pub(crate) async fn open(
        url: Url,
        kind: String,
        headers: BTreeMap<String, Secret>,
        words: Vec<String>,
        verbose: bool,
        payloads: Payloads,
        limits: Limits,
    ) -> Result<Self, Unfit> {
        let address =
            (url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(), url.port_or_known_default().unwrap_or(80));
        let origin = url.origin().ascii_serialization();
        let call = HttpCall {
            url,
            method: Method::Post,
            connect_timeout: CONNECT,
            completion: Completion::Sync,
            destination: origin.clone(),
            headers,
        };
        let caller = Caller::new(&call, &DestinationConfig::new(origin)).map_err(Unfit)?;
        let variables = vec![("PORT".to_owned(), address.1.to_string()), ("WARREN_KIND".to_owned(), kind.clone())];
        let command = (!words.is_empty()).then_some(Command { words, variables, verbose });
        let trial = Self { caller, kind, address, command, payloads, limits, worker: None, notes: Vec::new() };
        let (host, port) = &trial.address;
        match (&trial.command, trial.listens().await) {
            (None, false) => {
                Err(Unfit(format!("nobody listens on {host}:{port}: start the service, or give its command after `--`")))
            }
            (Some(_), true) => Err(Unfit(format!("somebody listens on {host}:{port} already: stop it, or take another port"))),
            _ => Ok(trial),
        }
    }

    /// Ends everything.
    pub(crate) async fn close(mut self) {
        self.clear_up().await;
    }

    async fn listens(&self) -> bool {
        let (host, port) = &self.address;
        matches!(timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await, Ok(Ok(_)))
    }

    /// Starts the service, if there is a command, and waits until it listens.
    async fn start(&mut self) -> Result<(), Stop> {
        let Some(command) = &self.command else { return Ok(()) };
        let worker = command.start().map_err(|unfit| Stop::Unfit(unfit.0))?;
        self.worker = Some(worker);
        let deadline = Instant::now() + self.limits.timeout;
        while !self.listens().await {
            if let Some(status) = self.worker.as_mut().and_then(Worker::ended) {
                return Err(Stop::fail(format!("the service ended ({status}) before it listened")));
            }
            if Instant::now() >= deadline {
                let (host, port) = &self.address;
                return Err(Stop::fail(format!("the service did not listen on {host}:{port} within {:?}", self.limits.timeout)));
            }
            sleep(GLANCE).await;
        }
        Ok(())
    }

    fn needs_command(&self) -> Result<(), Stop> {
        match self.command {
            Some(_) => Ok(()),
            None => Err(Stop::not_run("the service is to be ended and started: give its command after `--`")),
        }
    }

    /// Calls for one attempt of a job, as a hub does.
    async fn call(&self, job: Uuid, attempt: i32, body: Bytes) -> Called {
        let run = Run { attempt, ..Run::default() };
        let traceparent = Some(format!("00-{:032x}-{:016x}-01", job.as_u128(), job.as_u64_pair().1));
        let message = Message {
            id: job.to_string(),
            kind: self.kind.clone(),
            source: SOURCE.to_owned(),
            time: Timestamp::now(),
            content_type: "application/json".to_owned(),
            traceparent: traceparent.clone(),
            run: Some(run),
            tenant: "conformance".to_owned(),
            headers: BTreeMap::new(),
            body,
        };
        let cx = Context {
            id: message.id.clone(),
            kind: self.kind.clone(),
            queue: String::new(),
            attempt,
            epoch: run.epoch,
            tenant: message.tenant.clone(),
            deadline: Some(Timestamp::now() + SignedDuration::from_hours(1)),
            traceparent,
            interrupted: CancellationToken::new(),
            cancelled: CancellationToken::new(),
            said: messaging::said::Said::default(),
        };
        let calling = async {
            match self.caller.send(&cx, message, None, None).await {
                Ok(response) => read(response).await,
                Err(error) => Err(error),
            }
        };
        match timeout(self.limits.timeout, calling).await {
            Ok(Ok(answer)) => Called::Answered(answer),
            Ok(Err(error)) => Called::Broken(causes(&error)),
            Err(_) => Called::TimedOut(self.limits.timeout),
        }
    }

    /// Calls until it works, as long as the answers ask for another attempt.
    async fn call_until_done(&self, job: Uuid, body: &Bytes) -> Result<Answer, Stop> {
        let deadline = Instant::now() + self.limits.timeout;
        for attempt in 1.. {
            match self.call(job, attempt, body.clone()).await {
                Called::Answered(answer) if answer.status.is_success() => return Ok(answer),
                called if called.is_transient() && Instant::now() < deadline => {
                    let wait = called.retry_after().unwrap_or(GLANCE);
                    tokio::time::sleep_until(deadline.min(Instant::now() + wait.max(GLANCE))).await;
                }
                called => return Err(Stop::fail(format!("the same call again {called}"))),
            }
        }
        Err(Stop::fail("it never worked"))
    }

    fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl Called {
    /// Whether the hub would try again.
    fn is_transient(&self) -> bool {
        match self {
            Self::Answered(Answer { status, .. }) => matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error(),
            Self::Broken(_) | Self::TimedOut(_) => true,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered(answer) => answer.retry_after,
            _ => None,
        }
    }
}

impl std::fmt::Display for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered(answer) => write!(f, "was answered {}", answer.status),
            Self::Broken(why) => write!(f, "broke: {why}"),
            Self::TimedOut(after) => write!(f, "had no answer within {after:?}"),
        }
    }
}

impl Trial for Http {
    async fn put_through(&mut self, case: Case) -> Result<(), Stop> {
        match case {
            Case::Normal => self.normal().await,
            Case::Duplicate => self.duplicate().await,
            Case::Slow => self.slow().await,
            Case::Progress => Err(Stop::not_run("a service that is called has no way to report progress")),
            Case::Retry => self.retry().await,
            Case::Poison => self.poison().await,
            Case::Oversize => self.oversize().await,
            Case::LateResult => self.late().await,
            Case::CrashAndRestart => self.crash_and_restart().await,
            Case::Drain => self.drain().await,
        }
    }

    async fn clear_up(&mut self) -> (Vec<String>, Vec<String>) {
        let mut output = Vec::new();
        if let Some(mut worker) = self.worker.take() {
            worker.kill().await;
            output = worker.output();
        }
        (std::mem::take(&mut self.notes), output)
    }
}

/// Reads an answer, its body no further than is of use.
async fn read(mut response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let status = response.status();
    let retry_after = retry_after(response.headers(), Timestamp::now());
    let (mut body, mut cut) = (BytesMut::new(), false);
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_RESULT {
            cut = true;
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body: body.freeze(), cut, retry_after })
}

/// An error with what caused it.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    text
}
