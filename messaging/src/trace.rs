//! Traces: what happened to a job, as spans of one W3C trace, exported over OTLP.
//!
//! ```text
//! client's span, if it sends one
//! '- accept                  POST /v1/kinds/{kind}/jobs           SERVER    its context is stored with the job, and is the parent of
//!    |- publish              publish warren.jobs:<kind>           PRODUCER  each publish: attempts, redrives, the dead letter
//!    |- process              process jobs.<kind>                  CONSUMER  each attempt; its context is what the handler passes on:
//!    |  '- call              POST                                 CLIENT    of a kind with `worker = "http"`, or a callback
//!    |     '- whatever the called service says
//!    |- publish, process     warren.results                       the report of a service
//!    '- publish              publish warren.dead:jobs.<kind>
//! ```
//!
//! A message carries the context that it was caused by, unchanged from hop to hop: nothing is rewritten on the way, and all that
//! happens to a job hangs under the span that accepted it, in the order of time.
//!
//! Guarantees: with the tracer [off](Tracer::default) nothing is built, counted or allocated. With it on, no caller ever waits: spans go
//! into a bounded queue, and what does not fit is dropped and counted. Limits: 8192 spans wait, and are lost with the process; spans tell
//! people what happened, nothing depends on them. `tracestate` is not carried on.
//!
//! It refuses to own: logs and metrics, and an ambient "current span". A span is a value that whoever began it ends.

mod context;
mod conventions;
mod export;
mod span;

use std::sync::Arc;

use prometheus::Registry;
use tokio::sync::mpsc;

pub use context::TraceContext;
pub use export::{Exporter, TraceError};
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
pub use span::{Span, Value};

use export::Counters;

/// Spans that wait to be exported; a few MiB. What comes while it is full is dropped.
const QUEUE: usize = 8192;

/// Where spans go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// The collector: base URL of OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is added unless it ends so.
    pub endpoint: String,
    /// Sent with each export, such as `authorization`.
    pub headers: Vec<(String, String)>,
    /// Which share of the traces that begin here are kept, 0.0 to 1.0. What others began is kept if they keep it.
    pub sample: f64,
    /// `service.name`.
    pub service: String,
    /// `service.version`.
    pub version: String,
    /// `service.instance.id`: this process among those of the service.
    pub instance: String,
}

/// Begins spans. Cheap to clone; the default one is off.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

/// What a tracer that is on works with.
#[derive(Debug)]
struct Recorder {
    spans: mpsc::Sender<Box<span::Otlp>>,
    sample: f64,
    counters: Counters,
}

/// A tracer, and what exports its spans once it [runs](Exporter::run).
///
/// # Errors
/// When the endpoint or a header is none, or `registry` has the metrics already.
pub fn start(options: &TraceOptions, registry: &Registry) -> Result<(Tracer, Exporter), TraceError> {
    let counters = Counters::new(registry)?;
    let (spans, waiting) = mpsc::channel(QUEUE);
    let exporter = Exporter::new(options, waiting, counters.clone())?;
    Ok((Tracer(Some(Arc::new(Recorder { spans, sample: options.sample, counters }))), exporter))
}

/// What came to a door: the context that what it causes hangs under, and the span of the door itself if the trace is kept.
#[derive(Debug, Default)]
pub struct Entered {
    /// For what it causes. With the tracer off it is what the client sent.
    pub traceparent: Option<String>,
    /// The span, unless the trace is not kept.
    pub span: Option<Span>,
}

impl Tracer {
    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A span within the trace of `parent`; `None` if there is none, or it is not kept.
    pub fn within(&self, kind: SpanKind, parent: Option<&str>) -> Option<Span> {
        let recorder = self.0.as_ref()?;
        let parent = TraceContext::parse(parent?)?;
        parent.sampled.then(|| Span::begin(recorder.clone(), kind, parent.trace_id, Some(parent.span_id)))
    }

    /// A span of what enters here: within the client's trace, or the first of a new one.
    ///
    /// A new trace that is not kept has a context all the same, which tells everybody further on not to keep it either.
    pub fn enter(&self, kind: SpanKind, parent: Option<String>) -> Entered {
        let Some(recorder) = self.0.as_ref() else { return Entered { traceparent: parent, span: None } };
        let begun = match parent.as_deref().and_then(TraceContext::parse) {
            Some(parent) if parent.sampled => Span::begin(recorder.clone(), kind, parent.trace_id, Some(parent.span_id)),
            Some(_) => return Entered { traceparent: parent, span: None },
            None => {
                let root = TraceContext::root(recorder.sample);
                if !root.sampled {
                    return Entered { traceparent: Some(root.to_string()), span: None };
                }
                Span::begin(recorder.clone(), kind, root.trace_id, None)
            }
        };
        Entered { traceparent: Some(begun.traceparent()), span: Some(begun) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_KEPT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn tracer(sample: f64) -> (Tracer, mpsc::Receiver<Box<span::Otlp>>) {
        let (spans, waiting) = mpsc::channel(2);
        let counters = Counters::new(&Registry::new()).unwrap();
        (Tracer(Some(Arc::new(Recorder { spans, sample, counters }))), waiting)
    }

    #[test]
    fn off_it_passes_on_what_came_and_begins_nothing() {
        let off = Tracer::default();
        assert!(off.within(SpanKind::Client, Some(SENT)).is_none());
        let entered = off.enter(SpanKind::Server, Some("whatever".to_owned()));
        assert_eq!((entered.traceparent.as_deref(), entered.span.is_none()), (Some("whatever"), true));
        assert!(off.enter(SpanKind::Server, None).traceparent.is_none());
    }

    #[test]
    fn a_trace_that_somebody_keeps_is_followed_and_one_that_nobody_keeps_is_not() {
        let (tracer, mut waiting) = tracer(0.0);
        let entered = tracer.enter(SpanKind::Server, Some(SENT.to_owned()));
        let context = TraceContext::parse(entered.traceparent.as_deref().unwrap()).unwrap();
        drop(entered.span);
        let span = waiting.try_recv().unwrap();
        assert_eq!(span.trace_id, context.trace_id, "and not by `sample`, which is for traces that begin here");
        assert_eq!((&span.span_id[..], &span.parent_span_id[..]), (&context.span_id[..], &SENT_SPAN[..]));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);

        let entered = tracer.enter(SpanKind::Server, Some(NOT_KEPT.to_owned()));
        assert_eq!((entered.traceparent.as_deref(), entered.span.is_none()), (Some(NOT_KEPT), true));
        assert!(tracer.within(SpanKind::Client, Some(NOT_KEPT)).is_none());
        assert!(waiting.try_recv().is_err());
    }

    const SENT_SPAN: [u8; 8] = [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];

    #[test]
    fn a_new_trace_says_to_everybody_whether_it_is_kept() {
        for (sample, kept) in [(0.0, false), (1.0, true)] {
            let (tracer, _waiting) = tracer(sample);
            let entered = tracer.enter(SpanKind::Server, None);
            let context = TraceContext::parse(entered.traceparent.as_deref().unwrap()).unwrap();
            assert_eq!((context.sampled, entered.span.is_some()), (kept, kept));
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_nobody_waits() {
        let (tracer, mut waiting) = tracer(1.0);
        for _ in 0..5 {
            drop(tracer.within(SpanKind::Internal, Some(SENT)).unwrap());
        }
        assert_eq!(tracer.0.as_ref().unwrap().counters.dropped("queue-full"), 3);
        assert!(waiting.try_recv().is_ok() && waiting.try_recv().is_ok() && waiting.try_recv().is_err());
    }
}
