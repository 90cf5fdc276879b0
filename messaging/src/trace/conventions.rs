//! What spans are called and what they say: the semantic conventions of OpenTelemetry for messaging and HTTP, and `warren.job.*`.

use reqwest::Url;

use super::{Entered, Span, SpanKind, Tracer};
use crate::handler::{Failure, Outcome};
use crate::ledger::End;
use crate::message::{Message, Run};
use crate::publisher::PublishError;
use crate::results;
use crate::wire::Outbound;

impl Tracer {
    /// A request that comes to `route`, an address with its placeholders; end it with [`Span::answered`], or [`Span::refused`].
    pub fn serve(&self, method: &str, route: &str, traceparent: Option<String>) -> Entered {
        let mut entered = self.enter(SpanKind::Server, traceparent);
        if let Some(span) = &mut entered.span {
            span.name(format!("{method} {route}"));
            span.set("http.request.method", method);
            span.set("http.route", route);
        }
        entered
    }

    /// A request to another service, caused by what `traceparent` names: it carries [`Span::traceparent`], and ends with
    /// [`Span::answered`] or [`Span::failed`]. The query is left out: secrets live there.
    pub fn call(&self, method: &str, url: &Url, traceparent: Option<&str>) -> Option<Span> {
        let mut span = self.within(SpanKind::Client, traceparent)?;
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        span.name(method);
        span.set("http.request.method", method);
        span.set("url.full", format!("{}://{host}:{port}{}", url.scheme(), url.path()));
        span.set("server.address", host);
        span.set("server.port", port);
        Some(span)
    }

    /// From a message's way to the broker until its confirm.
    pub(crate) fn publish(&self, outbound: &Outbound) -> Option<Span> {
        if !self.is_on() {
            return None;
        }
        let mut span = self.within(SpanKind::Producer, outbound.traceparent())?;
        let (exchange, key) = (outbound.route.exchange.as_str(), outbound.route.key.as_str());
        let destination = match exchange {
            "" => key.to_owned(),
            _ if exchange == key => key.to_owned(),
            _ => format!("{exchange}:{key}"),
        };
        span.name(format!("publish {destination}"));
        span.message("publish", "send", destination, outbound.body.len());
        span.set("messaging.rabbitmq.destination.routing_key", key);
        span.about(&outbound.id, outbound.kind(), outbound.run());
        if let Some(reason) = outbound.reason() {
            span.set("warren.dead_letter.reason", reason);
        }
        Some(span)
    }

    /// What is done with a message that came from `queue`.
    pub(crate) fn process(&self, queue: &str, message: &Message) -> Option<Span> {
        let mut span = self.within(SpanKind::Consumer, message.traceparent.as_deref())?;
        span.name(format!("process {queue}"));
        span.message("process", "process", queue.to_owned(), message.body.len());
        span.about(&message.id, &message.kind, message.run);
        Some(span)
    }
}

impl Span {
    /// What was answered; from 500 on it counts as failed, and of a call from 400 on.
    pub fn answered(&mut self, status: u16) {
        self.set("http.response.status_code", status);
        let least = if self.is(SpanKind::Client) { 400 } else { 500 };
        if status >= least {
            self.failed(&status.to_string(), "");
        }
    }

    /// A request was refused with `code`. Of those without a good token nothing is recorded: anybody can send them, as many as they
    /// like, and ask for the trace to be kept.
    pub fn refused(mut self, status: u16, code: &str) {
        if matches!(status, 401 | 429) {
            return self.forget();
        }
        self.set("http.response.status_code", status);
        self.set("warren.problem", code);
        if status >= 500 {
            self.failed(code, "");
        }
    }

    fn message(&mut self, name: &'static str, operation: &'static str, destination: String, size: usize) {
        self.set("messaging.system", "rabbitmq");
        self.set("messaging.operation.name", name);
        self.set("messaging.operation.type", operation);
        self.set("messaging.destination.name", destination);
        self.set("messaging.message.body.size", size);
    }

    fn about(&mut self, id: &str, kind: &str, run: Option<Run>) {
        self.set("messaging.message.id", id);
        let Some(run) = run else { return self.set("cloudevents.event_type", kind) };
        // A report's id names the run: job/epoch/attempt.
        self.set("warren.job.id", id.split('/').next().unwrap_or(id));
        self.set("warren.job.epoch", run.epoch);
        self.set("warren.job.attempt", run.attempt);
        if kind != results::KIND {
            self.set("warren.job.kind", kind);
        }
    }

    /// What the broker said, or did not.
    pub(crate) fn unpublished(&mut self, error: &PublishError) {
        let code = match error {
            PublishError::Returned { .. } => "returned",
            PublishError::Nacked => "nacked",
            PublishError::Closed(_) => "closed",
            PublishError::TimedOut(_) => "timed-out",
            PublishError::Unsendable(_) => "unsendable",
        };
        self.failed(code, &error.to_string());
    }

    /// How an attempt ended.
    pub(crate) fn ended(&mut self, end: &End) {
        let (word, failure) = match end {
            End::Outcome(outcome) => (outcome.name(), failure(outcome)),
            End::Interrupted => ("interrupted", None),
            End::Parked => ("parked", None),
        };
        self.set("warren.job.outcome", word);
        if let Some(Failure { code, message }) = failure {
            self.failed(code, message);
        }
    }
}

fn failure(outcome: &Outcome) -> Option<&Failure> {
    match outcome {
        Outcome::Retry(failure) | Outcome::RetryAfter(_, failure) | Outcome::Reject(failure) => Some(failure),
        Outcome::Done(_) | Outcome::Snooze(_) => None,
    }
}
