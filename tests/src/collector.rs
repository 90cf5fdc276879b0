//! A collector that speaks OTLP over HTTP: a real server on a free port that decodes what it gets and remembers it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use tokio::net::TcpListener;

/// One span it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// `service.name` of who sent it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// In hexadecimal, as in `traceparent`.
    pub trace: String,
    /// In hexadecimal.
    pub id: String,
    /// In hexadecimal; empty for the first of a trace.
    pub parent: String,
    /// Its attributes as texts.
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds.
    pub started: u64,
    /// Nanoseconds.
    pub ended: u64,
    /// Whether it says that it failed.
    pub failed: bool,
}

impl Span {
    /// An attribute's text; empty if there is none.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

#[derive(Clone)]
struct Shared {
    spans: Arc<Mutex<Vec<Span>>>,
    refuse: Arc<Mutex<Option<StatusCode>>>,
    asked: Arc<Mutex<Vec<HeaderMap>>>,
}

/// The collector. It ends with the runtime it was started on.
pub struct Collector {
    address: SocketAddr,
    shared: Shared,
}

impl Collector {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let shared = Shared { spans: Arc::default(), refuse: Arc::default(), asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/v1/traces", post(take)).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, shared }
    }

    /// What to configure as the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers with this status from here on; `None`: takes what it is sent.
    pub fn refuse(&self, status: Option<u16>) {
        *self.shared.refuse.lock().unwrap() = status.map(|status| StatusCode::from_u16(status).unwrap());
    }

    /// The spans it took so far, in the order of their starts.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.shared.spans.lock().unwrap().clone();
        spans.sort_by_key(|span| span.started);
        spans
    }

    /// The headers of every request, taken or not.
    pub fn asked(&self) -> Vec<HeaderMap> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let protobuf = headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/x-protobuf");
    shared.asked.lock().unwrap().push(headers);
    if let Some(status) = *shared.refuse.lock().unwrap() {
        return status.into_response();
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST.into_response() };
    if !protobuf {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    for of in request.resource_spans {
        let resource = texts(&of.resource.unwrap().attributes);
        let spans = of.scope_spans.into_iter().flat_map(|of| of.spans).map(|span| Span {
            service: resource["service.name"].clone(),
            kind: span.kind(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            attributes: texts(&span.attributes),
            started: span.start_time_unix_nano,
            ended: span.end_time_unix_nano,
            failed: span.status.is_some_and(|status| status.code == 2),
            name: span.name,
        });
        shared.spans.lock().unwrap().extend(spans);
    }
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    ([(CONTENT_TYPE, "application/x-protobuf")], answer).into_response()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|one| (one.key.clone(), text(&one.value))).collect()
}
