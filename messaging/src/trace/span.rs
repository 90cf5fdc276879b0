//! One span, from its beginning until it is dropped.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{self as otlp, Status, span::SpanKind, status::StatusCode};

use super::Recorder;
use super::context::{self, TraceContext};

/// A span as it goes to the collector.
pub(super) type Otlp = otlp::Span;

/// The value of an attribute.
pub use any_value::Value;

/// The longest text that is kept, in bytes.
const MAX_TEXT: usize = 512;

/// Something that takes time. It ends, and is recorded, when it is dropped: also when whatever did it was given up.
#[derive(Debug)]
pub struct Span {
    recorder: Arc<Recorder>,
    otlp: Box<Otlp>,
    context: TraceContext,
    forgotten: bool,
}

impl Span {
    pub(super) fn begin(recorder: Arc<Recorder>, kind: SpanKind, trace_id: [u8; 16], parent: Option<[u8; 8]>) -> Self {
        let context = TraceContext { trace_id, span_id: context::span_id(), sampled: true };
        let otlp = Otlp {
            trace_id: trace_id.to_vec(),
            span_id: context.span_id.to_vec(),
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            flags: 1,
            kind: kind.into(),
            start_time_unix_nano: now(),
            ..Otlp::default()
        };
        Self { recorder, otlp: Box::new(otlp), context, forgotten: false }
    }

    pub(super) fn is(&self, kind: SpanKind) -> bool {
        self.otlp.kind == i32::from(kind)
    }

    /// What it causes carries this.
    pub fn traceparent(&self) -> String {
        self.context.to_string()
    }

    /// What it is called: a few words of a closed set, no ids.
    pub fn name(&mut self, name: impl Into<String>) {
        self.otlp.name = cut(name.into());
    }

    /// Says more about it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Attribute>) {
        let value = Some(AnyValue { value: Some(value.into().0) });
        self.otlp.attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }

    /// It is not worth telling of, and is not recorded.
    pub fn forget(mut self) {
        self.forgotten = true;
    }

    /// It did not work: `error.type` is a stable code, `text` for people.
    pub fn failed(&mut self, code: &str, text: &str) {
        self.set("error.type", code);
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        self.otlp.status = Some(Status { message: text.to_owned(), code: StatusCode::Error.into() });
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.forgotten {
            return;
        }
        let mut otlp = std::mem::take(&mut self.otlp);
        // The clock may have been set back meanwhile.
        otlp.end_time_unix_nano = now().max(otlp.start_time_unix_nano);
        if self.recorder.spans.try_send(otlp).is_err() {
            self.recorder.counters.drop_some("queue-full", 1);
        }
    }
}

/// Text, a number, or a flag, as the value of an attribute.
pub struct Attribute(Value);

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self(Value::StringValue(text[..text.floor_char_boundary(MAX_TEXT)].to_owned()))
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self(Value::StringValue(cut(text)))
    }
}

impl From<i32> for Attribute {
    fn from(number: i32) -> Self {
        Self(Value::IntValue(number.into()))
    }
}

impl From<usize> for Attribute {
    fn from(number: usize) -> Self {
        Self(Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<u16> for Attribute {
    fn from(number: u16) -> Self {
        Self(Value::IntValue(number.into()))
    }
}

impl From<bool> for Attribute {
    fn from(flag: bool) -> Self {
        Self(Value::BoolValue(flag))
    }
}

/// What a stranger's header says is not to fill the memory.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
}
