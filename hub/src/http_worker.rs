//! Kinds whose work is a call over HTTP to a service that need not know Warren.
//!
//! ```text
//! delivery -> leave (held? room? pace?) -> one request -> answer -> outcome of the attempt
//!                |                                          '-> verdict on the destination, shared by all processes
//!                '-- no: Snooze, no attempt spent
//! ```
//!
//! A call carries the payload as it was accepted, the job as a CloudEvent in binary mode (`ce-*`), `Idempotency-Key` (the job's id in
//! quotes, the same on every attempt), `traceparent`, `Warren-Attempt` and `Warren-Deadline`.
//!
//! Any 2xx is success, its body the result; 408, 425, 429, 5xx, broken connections and time-outs are tried again, not before
//! `Retry-After`; everything else, a redirect too, is a dead letter. A result of over 64 KiB is read no further and not kept.
//!
//! With `completion = "async"` the call carries `Warren-Token` besides, and 202 means that the service says later how it ends
//! (`PUT /v1/jobs/{id}/result`): the delivery is acked and the slot is free, and no process owns the run until then. Another 2xx is success
//! at once, as ever.
//!
//! A call may be made twice for one attempt when a process dies in between: the service goes by `Idempotency-Key`.
//! Proxies of the environment are not used, compressed answers not asked for, cookies not kept.

mod answer;
mod breaker;
mod destination;
mod metrics;
mod pace;
pub(crate) mod request;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_ack::destinations::Destinations;
use api_ack::run_token::RunTokens;
use async_trait::async_trait;
use jiff::Timestamp;
use messaging::handler::{AnyHandler, Context, Outcome};
use messaging::ledger::End;
use messaging::message::{Message, Run};
use messaging::trace::{Span, Tracer};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::answer::Answer;
pub(crate) use self::answer::{causes, retry_after};
use self::destination::Destination;
pub(crate) use self::metrics::Metrics;
use self::request::Caller;
use crate::config::{Completion, Config};

/// Does the work of one kind.
struct Call {
    caller: Caller,
    destination: Arc<Destination>,
    timeout: Duration,
    /// What a service may end its run with later; `None` where the answer is the end.
    tokens: Option<RunTokens>,
    metrics: Metrics,
    tracer: Tracer,
}

/// How long an answer waits for the store to be told what it says about the destination.
const TELLING: Duration = Duration::from_secs(5);

/// The handlers of the kinds of `config` whose worker is `http`, by kind.
///
/// # Errors
/// With what is wrong with the files of a destination, for people.
pub(crate) fn handlers(
    config: &Config,
    shared: &Arc<Destinations>,
    tokens: &RunTokens,
    metrics: &Metrics,
    tracer: &Tracer,
) -> Result<BTreeMap<String, Arc<dyn AnyHandler>>, String> {
    let mut destinations: BTreeMap<String, Arc<Destination>> = BTreeMap::new();
    let mut handlers: BTreeMap<String, Arc<dyn AnyHandler>> = BTreeMap::new();
    for (kind, call) in config.kinds.iter().filter_map(|kind| Some((kind, kind.http.as_ref()?))) {
        let new = || Arc::new(Destination::new(config.destination(call), shared.clone()));
        let destination = destinations.entry(call.destination.clone()).or_insert_with(new).clone();
        let caller = Caller::new(call, &destination.config).map_err(|why| format!("kind `{}`: {why}", kind.name))?;
        let later = call.completion == Completion::Async;
        let tokens = later.then(|| tokens.clone());
        let call = Call { caller, destination, timeout: kind.timeout, tokens, metrics: metrics.clone(), tracer: tracer.clone() };
        handlers.insert(kind.name.as_str().to_owned(), Arc::new(call));
    }
    Ok(handlers)
}

/// Shows about once a second how the destinations stand, until `stop`.
pub(crate) async fn show(shared: Arc<Destinations>, metrics: Metrics, stop: CancellationToken) {
    loop {
        metrics.show(&shared);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

#[async_trait]
impl AnyHandler for Call {
    async fn handle_any(&self, cx: &Context, message: Message) -> End {
        let name = self.destination.config.name.as_str();
        let leave = tokio::select! {
            biased;
            // Whoever is not wanted any more need not wait for a turn; the rules end the job.
            () = cx.cancelled.cancelled() => return Outcome::Snooze(Duration::ZERO).into(),
            leave = self.destination.leave(self.timeout, cx.deadline) => leave,
        };
        let leave = match leave {
            Ok(leave) => leave,
            Err(wait) => {
                self.metrics.calls.with_label_values(&[name, "held"]).inc();
                return Outcome::Snooze(wait).into();
            }
        };
        let begun = Instant::now();
        let mut span = self.caller.span(&self.tracer, cx);
        let answer = match tokio::time::timeout(self.timeout, self.call(cx, message, &mut span)).await {
            Ok(answer) => answer,
            Err(_) => answer::timed_out(self.timeout),
        };
        if let Some(span) = &mut span
            && !answer.result.ends_with("xx")
        {
            span.failed(answer.result, "");
        }
        drop(span);
        let took = begun.elapsed();
        self.metrics.calls.with_label_values(&[name, answer.result]).inc();
        self.metrics.duration.with_label_values(&[name]).observe(took.as_secs_f64());
        // The answer counts, whether or not the store can be told about the destination: that is offered again.
        let _ = tokio::time::timeout(TELLING, self.destination.learn(&leave, answer.health, took)).await;
        if answer.end == End::Parked {
            messaging::crash_point!("K14");
        }
        answer.end
    }
}

impl Call {
    async fn call(&self, cx: &Context, message: Message, span: &mut Option<Span>) -> Answer {
        let traceparent = span.as_ref().map(Span::traceparent).or_else(|| cx.traceparent.clone());
        let run = Run { epoch: cx.epoch, attempt: cx.attempt };
        // Only ids of jobs were begun.
        let token = self.tokens.as_ref().and_then(|tokens| Some(tokens.bearer(Uuid::parse_str(&cx.id).ok()?, run)));
        match self.caller.send(cx, message, traceparent.as_deref(), token).await {
            Ok(response) => {
                // Also when its body is never read to the end.
                cx.answered(response.status().as_u16());
                if let Some(span) = span {
                    span.answered(response.status().as_u16());
                }
                answer::read(response, self.tokens.is_some(), Timestamp::now()).await
            }
            Err(error) if error.is_connect() => answer::failed("connect-failed", "cannot connect", &error),
            Err(error) => answer::failed("request-failed", "the connection broke before the answer", &error),
        }
    }
}
