//! Spans to a collector: OTLP over HTTP, protobuf, in the background.
//!
//! A batch goes out when it is full, or once a second. What the collector cannot take now is offered again for about a quarter of a
//! minute; then it is dropped, and meanwhile what comes waits in the queue, which is bounded. On drain what waits is offered once more.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url, redirect};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::TraceOptions;
use super::span::Otlp;

/// Spans in one export.
const BATCH: usize = 512;

/// How long a batch waits for company.
const GATHER: Duration = Duration::from_secs(1);

/// How long one export may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits between offers of one batch.
const WAITS: [Duration; 4] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// How long the last exports may take when the process leaves.
const FLUSH: Duration = Duration::from_secs(3);

/// How often a collector that does not do is spoken of.
const WARN: Duration = Duration::from_secs(60);

/// Why tracing cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The endpoint is none.
    #[error("the endpoint `{0}` is no URL such as http://127.0.0.1:4318")]
    Endpoint(String),
    /// A header cannot be sent.
    #[error("the header `{0}` cannot be sent")]
    Header(String),
    /// No client.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The metrics are registered already.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// What became of spans.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    exported: IntCounter,
    dropped: IntCounterVec,
}

impl Counters {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = Self {
            exported: IntCounter::new("warren_spans_exported_total", "spans that the collector took")?,
            dropped: IntCounterVec::new(
                Opts::new("warren_spans_dropped_total", "spans that no collector will see, by why"),
                &["reason"],
            )?,
        };
        registry.register(Box::new(counters.exported.clone()))?;
        registry.register(Box::new(counters.dropped.clone()))?;
        Ok(counters)
    }

    pub(super) fn drop_some(&self, reason: &str, count: usize) {
        self.dropped.with_label_values(&[reason]).inc_by(count as u64);
    }

    #[cfg(test)]
    pub(super) fn dropped(&self, reason: &str) -> u64 {
        self.dropped.with_label_values(&[reason]).get()
    }
}

/// Sends spans to the collector.
pub struct Exporter {
    waiting: mpsc::Receiver<Box<Otlp>>,
    client: Client,
    endpoint: Url,
    resource: Resource,
    counters: Counters,
    warned: Option<Instant>,
}

/// Why a batch was not taken.
enum Refused {
    /// It may be later.
    ForNow(String),
    /// It never will be.
    ForEver(String),
}

impl Exporter {
    pub(super) fn new(
        options: &TraceOptions,
        waiting: mpsc::Receiver<Box<Otlp>>,
        counters: Counters,
    ) -> Result<Self, TraceError> {
        let base = options.endpoint.trim_end_matches('/');
        let whole = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        let endpoint = Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let endpoint = endpoint.ok_or_else(|| TraceError::Endpoint(options.endpoint.clone()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let (Ok(key), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
                return Err(TraceError::Header(name.clone()));
            };
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(PATIENCE)
            .default_headers(headers)
            .user_agent(concat!("warren/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let said = [
            ("service.name", &options.service),
            ("service.version", &options.version),
            ("service.instance.id", &options.instance),
        ];
        let attributes = said.into_iter().map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.clone())) }),
            ..KeyValue::default()
        });
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        Ok(Self { waiting, client, endpoint, resource, counters, warned: None })
    }

    /// Exports until `stop`, then what still waits, for 3 s at most.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch, &stop).await {
            self.offer(&mut batch, &stop).await;
            if stop.is_cancelled() {
                break;
            }
        }
        let until = Instant::now() + FLUSH;
        loop {
            while batch.len() < BATCH
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(*span);
            }
            if batch.is_empty() {
                return;
            }
            let spans = batch.len();
            match tokio::time::timeout_at(until, self.send(&mut batch)).await {
                Ok(Ok(())) => {}
                Ok(Err(Refused::ForNow(why) | Refused::ForEver(why))) => self.lose(spans, &why),
                Err(_) => self.lose(spans, "the process leaves"),
            }
            batch.clear();
        }
    }

    /// Fills `batch`; `false` once the process leaves.
    async fn gather(&mut self, batch: &mut Vec<Otlp>, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            first = self.waiting.recv() => match first {
                Some(span) => batch.push(*span),
                None => return false,
            },
        }
        let gathered = tokio::time::sleep(GATHER);
        tokio::pin!(gathered);
        while batch.len() < BATCH {
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                next = self.waiting.recv() => match next {
                    Some(span) => batch.push(*span),
                    None => return false,
                },
                () = &mut gathered => break,
            }
        }
        true
    }

    /// Offers a batch until it is taken, refused, or given up. On the way down it stays in `batch`.
    async fn offer(&mut self, batch: &mut Vec<Otlp>, stop: &CancellationToken) {
        let mut waits = WAITS.into_iter();
        loop {
            let spans = batch.len();
            let why = match self.send(batch).await {
                Ok(()) => return batch.clear(),
                Err(Refused::ForEver(why)) => {
                    self.lose(spans, &why);
                    return batch.clear();
                }
                Err(Refused::ForNow(why)) => why,
            };
            let Some(wait) = waits.next() else {
                self.lose(spans, &why);
                return batch.clear();
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sends a batch once; it has it back afterwards.
    async fn send(&mut self, batch: &mut Vec<Otlp>) -> Result<(), Refused> {
        let spans = batch.len();
        let scope = InstrumentationScope {
            name: "warren".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let of_scope = ScopeSpans { scope: Some(scope), spans: std::mem::take(batch), ..ScopeSpans::default() };
        let of_resource =
            ResourceSpans { resource: Some(self.resource.clone()), scope_spans: vec![of_scope], ..ResourceSpans::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![of_resource] };
        let body = request.encode_to_vec();
        *batch = request.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect();
        let sent = self.client.post(self.endpoint.clone()).body(body).send().await;
        let response = sent.map_err(|error| Refused::ForNow(causes(&error)))?;
        match response.status() {
            status if status.is_success() => {
                let said = response.bytes().await.ok().and_then(|bytes| ExportTraceServiceResponse::decode(bytes).ok());
                let partly = said.and_then(|said| said.partial_success).filter(|partly| partly.rejected_spans > 0);
                let rejected = partly.as_ref().map_or(0, |partly| usize::try_from(partly.rejected_spans).unwrap_or(0)).min(spans);
                self.counters.exported.inc_by((spans - rejected) as u64);
                if let Some(partly) = partly {
                    self.lose(rejected, &partly.error_message);
                }
                Ok(())
            }
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Err(Refused::ForNow(format!("it answered {status}"))),
            status => Err(Refused::ForEver(format!("it answered {status}"))),
        }
    }

    fn lose(&mut self, spans: usize, why: &str) {
        self.counters.drop_some("not-taken", spans);
        if self.warned.is_none_or(|at| at.elapsed() > WARN) {
            self.warned = Some(Instant::now());
            tracing::warn!(
                endpoint = %self.endpoint,
                spans,
                "spans are dropped, their collector does not take them: {why}; is this its port for OTLP over HTTP (4318 as a rule)?"
            );
        }
    }
}

/// An error with what caused it: the library says the reason last.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
