//! Messages to AMQP properties and back, and copies of deliveries that go elsewhere.
//!
//! Nothing that came over the wire is trusted to be well formed: what does not decode is left out or defaulted, and never panics.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::message::{FORMAT_VERSION, Message, Route, Run, header};

/// Header bytes Warren publishes at most; the header frame is never split, and one over `frame_max` closes the connection.
pub const MAX_HEADERS: usize = 16 * 1024;

/// Something the publisher can send.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub(crate) route: Route,
    pub(crate) id: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
    /// The trace context of a message that does not carry it itself.
    trace: Option<String>,
}

/// Why a message cannot be sent as it is. Sending it would close the channel, or the connection, for everybody on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// A field is a short string in AMQP.
    #[error("`{field}` has {length} bytes, AMQP carries 255 at most")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// No id: a return could not be matched.
    #[error("a message needs an id")]
    NoId,
    /// Headers together are too large.
    #[error("the headers have {0} bytes, {MAX_HEADERS} at most are sent")]
    HeadersTooLarge(usize),
}

fn short(field: &'static str, text: &str) -> Result<ShortString, Unsendable> {
    ShortString::try_new(text).map_err(|_| Unsendable::TooLong { field, length: text.len() })
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

impl Outbound {
    /// `message` on its way to `route`.
    ///
    /// # Errors
    /// When AMQP could not carry it.
    pub fn new(route: Route, message: &Message) -> Result<Self, Unsendable> {
        Self::with_headers(route, message, &[])
    }

    /// As [`Outbound::new`], with further headers.
    ///
    /// # Errors
    /// When AMQP could not carry it.
    pub fn with_headers(route: Route, message: &Message, more: &[(&str, &str)]) -> Result<Self, Unsendable> {
        if message.id.is_empty() {
            return Err(Unsendable::NoId);
        }
        short("exchange", &route.exchange)?;
        short("routing key", &route.key)?;
        let mut headers = FieldTable::default();
        let mut size = 0;
        {
            let mut put = |name: &str, value: AMQPValue, length: usize| -> Result<(), Unsendable> {
                size += name.len() + length + 8;
                headers.insert(short("header name", name)?, value);
                Ok(())
            };
            for (name, value) in &message.headers {
                put(name, text(value), value.len())?;
            }
            put("cloudEvents_specversion", text("1.0"), 3)?;
            put("cloudEvents_id", text(&message.id), message.id.len())?;
            put("cloudEvents_type", text(&message.kind), message.kind.len())?;
            put("cloudEvents_source", text(&message.source), message.source.len())?;
            put("cloudEvents_time", text(&message.time.to_string()), 27)?;
            put(header::VERSION, AMQPValue::LongLongInt(FORMAT_VERSION), 8)?;
            if let Some(run) = message.run {
                put(header::EPOCH, AMQPValue::LongInt(run.epoch), 4)?;
                put(header::ATTEMPT, AMQPValue::LongInt(run.attempt), 4)?;
            }
            if !message.tenant.is_empty() {
                put(header::TENANT, text(&message.tenant), message.tenant.len())?;
            }
            if let Some(trace) = &message.traceparent {
                put(header::TRACEPARENT, text(trace), trace.len())?;
            }
            for (name, value) in more {
                put(name, text(value), value.len())?;
            }
        }
        if size > MAX_HEADERS {
            return Err(Unsendable::HeadersTooLarge(size));
        }
        let properties = plain(message)?.with_headers(headers);
        Ok(Self { route, id: message.id.clone(), properties, body: message.body.clone(), trace: None })
    }

    /// The broker need not write it to disk: what it says is kept elsewhere, and whoever waits for it finds it there.
    #[must_use]
    pub(crate) fn transient(mut self) -> Self {
        self.properties = self.properties.with_delivery_mode(1);
        self
    }

    /// The broker drops it after `ttl`, unless somebody has taken it by then.
    #[must_use]
    pub(crate) fn expiring(mut self, ttl: Duration) -> Self {
        self.properties = self.properties.with_expiration(ttl.as_millis().to_string().into());
        self
    }

    /// The payload of `message` as it was accepted, for somebody who knows nothing of Warren: AMQP properties (content type, message
    /// id, type, timestamp, app id) and no header at all.
    ///
    /// # Errors
    /// When AMQP could not carry it.
    pub fn raw(route: Route, message: &Message) -> Result<Self, Unsendable> {
        if message.id.is_empty() {
            return Err(Unsendable::NoId);
        }
        short("exchange", &route.exchange)?;
        short("routing key", &route.key)?;
        let properties = plain(message)?.with_app_id(ShortString::from("warren"));
        let (id, body, trace) = (message.id.clone(), message.body.clone(), message.traceparent.clone());
        Ok(Self { route, id, properties, body, trace })
    }

    /// A copy of something that was delivered, bytes and headers as they came, without the broker's own death headers: a kept
    /// `x-death` makes the broker drop the copy as a cycle.
    pub(crate) fn copy(route: Route, id: String, original: &BasicProperties, body: Bytes, more: &[(&str, &str)]) -> Self {
        let mut headers = FieldTable::default();
        let mut size = 0;
        if let Some(came) = original.headers() {
            // A foreign header that is too large is left out; those that say what the message is, and its bytes, never are.
            let (own, foreign): (Vec<_>, Vec<_>) = came.inner().iter().partition(|(name, _)| is_own_header(name.as_str()));
            for (name, value) in own.into_iter().chain(foreign) {
                if is_death_header(name.as_str()) {
                    continue;
                }
                let length = name.as_str().len() + size_of(value);
                if size + length <= MAX_HEADERS {
                    size += length;
                    headers.insert(name.clone(), value.clone());
                }
            }
        }
        for (name, value) in more {
            if let Ok(name) = ShortString::try_new(*name) {
                headers.insert(name, text(value));
            }
        }
        let mut properties = original.clone().with_delivery_mode(2).with_headers(headers);
        if let Ok(id) = ShortString::try_new(id.as_str()) {
            properties = properties.with_message_id(id);
        }
        // These two would be refused or obeyed by the broker on behalf of whoever set them first.
        properties = strip_identity(properties);
        Self { route, id, properties, body, trace: None }
    }

    /// Something that was delivered, exactly with these properties.
    pub(crate) fn as_it_is(route: Route, id: String, properties: BasicProperties, body: Bytes) -> Self {
        Self { route, id, properties, body, trace: None }
    }

    /// The same for the dead letters: without the token of its run, with which a reader of letters could speak for the job.
    #[must_use]
    pub(crate) fn without_token(mut self) -> Self {
        if let Some(headers) = self.properties.headers() {
            let kept = headers.inner().iter().filter(|(name, _)| name.as_str() != header::TOKEN);
            let kept: BTreeMap<_, _> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
            self.properties = self.properties.with_headers(kept.into());
        }
        self
    }

    /// The bytes it carries.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The trace context it belongs to.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.trace.as_deref().or_else(|| self.header(header::TRACEPARENT))
    }

    /// Which run of a job it is, if it says.
    pub(crate) fn run(&self) -> Option<Run> {
        let headers = self.properties.headers().as_ref()?.inner();
        Some(Run {
            epoch: headers.get(header::EPOCH).and_then(as_count)?,
            attempt: headers.get(header::ATTEMPT).and_then(as_count)?,
        })
    }

    /// AMQP `type`.
    pub(crate) fn kind(&self) -> &str {
        self.properties.kind().as_ref().map_or("", |kind| kind.as_str())
    }

    /// Why it is a dead letter, if it is one.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.header(header::REASON)
    }

    fn header(&self, name: &str) -> Option<&str> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
            _ => None,
        }
    }
}

/// What AMQP itself says of a message.
fn plain(message: &Message) -> Result<BasicProperties, Unsendable> {
    Ok(BasicProperties::default()
        .with_content_type(short("content type", &message.content_type)?)
        .with_delivery_mode(2)
        .with_message_id(short("message id", &message.id)?)
        .with_type(short("type", &message.kind)?)
        .with_timestamp(u64::try_from(message.time.as_second()).unwrap_or(0)))
}

fn strip_identity(properties: BasicProperties) -> BasicProperties {
    let mut clean = BasicProperties::default().with_delivery_mode(2);
    if let Some(v) = properties.content_type() {
        clean = clean.with_content_type(v.clone());
    }
    if let Some(v) = properties.content_encoding() {
        clean = clean.with_content_encoding(v.clone());
    }
    if let Some(v) = properties.headers() {
        clean = clean.with_headers(v.clone());
    }
    if let Some(v) = properties.correlation_id() {
        clean = clean.with_correlation_id(v.clone());
    }
    if let Some(v) = properties.reply_to() {
        clean = clean.with_reply_to(v.clone());
    }
    if let Some(v) = properties.message_id() {
        clean = clean.with_message_id(v.clone());
    }
    if let Some(v) = properties.timestamp() {
        clean = clean.with_timestamp(*v);
    }
    if let Some(v) = properties.kind() {
        clean = clean.with_type(v.clone());
    }
    if let Some(v) = properties.app_id() {
        clean = clean.with_app_id(v.clone());
    }
    clean
}

/// Whether Warren reads it: it decides what becomes of the message.
fn is_own_header(name: &str) -> bool {
    name == header::TRACEPARENT || ["warren-", "cloudEvents_", "cloudEvents:"].iter().any(|prefix| name.starts_with(prefix))
}

pub(crate) fn is_death_header(name: &str) -> bool {
    ["x-death", "x-first-death", "x-last-death"].iter().any(|prefix| name.starts_with(prefix))
}

pub(crate) fn size_of(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(s) => s.len() + 5,
        AMQPValue::ByteArray(b) => b.len() + 5,
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(size_of).sum::<usize>() + 5,
        AMQPValue::FieldTable(table) => table.inner().iter().map(|(k, v)| k.as_str().len() + size_of(v)).sum::<usize>() + 5,
        _ => 9,
    }
}

/// What came over the wire, as a [`Message`]. Never fails: what a foreign publisher left out is empty.
pub fn read(properties: &BasicProperties, body: Bytes) -> Message {
    let mut id = properties.message_id().as_ref().map_or_else(String::new, |v| v.as_str().to_owned());
    let mut kind = properties.kind().as_ref().map_or_else(String::new, |v| v.as_str().to_owned());
    let seconds = properties.timestamp().as_ref().and_then(|s| i64::try_from(*s).ok());
    let mut time = seconds.and_then(|s| Timestamp::from_second(s).ok()).unwrap_or_else(Timestamp::now);
    let (mut source, mut tenant, mut traceparent) = (String::new(), String::new(), None);
    let (mut epoch, mut attempt) = (None, None);
    let mut headers = BTreeMap::new();
    for (name, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        let name = name.as_str();
        let event = name.strip_prefix("cloudEvents_").or_else(|| name.strip_prefix("cloudEvents:"));
        match (event, name) {
            (Some("id"), _) if id.is_empty() => id = as_text(value).unwrap_or_default(),
            (Some("type"), _) => kind = as_text(value).unwrap_or(kind),
            (Some("source"), _) => source = as_text(value).unwrap_or_default(),
            (Some("time"), _) => time = as_text(value).and_then(|t| t.parse().ok()).unwrap_or(time),
            (Some(_), _) | (None, header::VERSION) => {}
            (None, header::EPOCH) => epoch = as_count(value),
            (None, header::ATTEMPT) => attempt = as_count(value),
            (None, header::TENANT) => tenant = as_text(value).unwrap_or_default(),
            (None, header::TRACEPARENT) => traceparent = as_text(value),
            (None, _) if name.starts_with("x-") => {}
            (None, _) => {
                if let Some(value) = as_text(value) {
                    headers.insert(name.to_owned(), value);
                }
            }
        }
    }
    let run = match (epoch, attempt) {
        (Some(epoch), Some(attempt)) => Some(Run { epoch, attempt }),
        _ => None,
    };
    let content_type =
        properties.content_type().as_ref().map_or_else(|| "application/octet-stream".to_owned(), |v| v.as_str().to_owned());
    Message { id, kind, source, time, content_type, traceparent, run, tenant, headers, body }
}

/// A header value as text, if it is text.
pub(crate) fn as_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(s) => std::str::from_utf8(s.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(s) => Some(s.as_str().to_owned()),
        _ => None,
    }
}

/// A header value as a positive count, if it is one.
fn as_count(value: &AMQPValue) -> Option<i32> {
    let number = match value {
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => return None,
    };
    i32::try_from(number).ok().filter(|n| *n > 0)
}

/// Headers and properties as JSON, for people and for the dead letter store.
pub fn properties_as_json(properties: &BasicProperties) -> serde_json::Value {
    let mut out = serde_json::Map::new();
    let mut put = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    put("content_type", properties.content_type().as_ref().map(|v| v.as_str().into()));
    put("content_encoding", properties.content_encoding().as_ref().map(|v| v.as_str().into()));
    put("correlation_id", properties.correlation_id().as_ref().map(|v| v.as_str().into()));
    put("reply_to", properties.reply_to().as_ref().map(|v| v.as_str().into()));
    put("message_id", properties.message_id().as_ref().map(|v| v.as_str().into()));
    put("type", properties.kind().as_ref().map(|v| v.as_str().into()));
    put("app_id", properties.app_id().as_ref().map(|v| v.as_str().into()));
    put("timestamp", properties.timestamp().as_ref().map(|v| (*v).into()));
    put("headers", properties.headers().as_ref().map(|table| table_as_json(table, 0)));
    serde_json::Value::Object(out)
}

/// Deeper nesting than this is cut: a foreign publisher chose it, and nobody reads it.
const MAX_DEPTH: usize = 16;

fn table_as_json(table: &FieldTable, depth: usize) -> serde_json::Value {
    table.inner().iter().map(|(name, value)| (name.as_str().to_owned(), value_as_json(value, depth + 1))).collect()
}

fn value_as_json(value: &AMQPValue, depth: usize) -> serde_json::Value {
    if depth > MAX_DEPTH {
        return serde_json::Value::Null;
    }
    match value {
        AMQPValue::Boolean(v) => (*v).into(),
        AMQPValue::ShortShortInt(v) => (*v).into(),
        AMQPValue::ShortShortUInt(v) => (*v).into(),
        AMQPValue::ShortInt(v) => (*v).into(),
        AMQPValue::ShortUInt(v) => (*v).into(),
        AMQPValue::LongInt(v) => (*v).into(),
        AMQPValue::LongUInt(v) => (*v).into(),
        AMQPValue::LongLongInt(v) => (*v).into(),
        AMQPValue::Float(v) => f64::from(*v).into(),
        AMQPValue::Double(v) => (*v).into(),
        AMQPValue::Timestamp(v) => (*v).into(),
        AMQPValue::ShortString(v) => v.as_str().into(),
        AMQPValue::LongString(v) => String::from_utf8_lossy(v.as_bytes()).into_owned().into(),
        AMQPValue::ByteArray(v) => String::from_utf8_lossy(v.as_slice()).into_owned().into(),
        AMQPValue::FieldArray(v) => v.as_slice().iter().map(|item| value_as_json(item, depth + 1)).collect(),
        AMQPValue::FieldTable(v) => table_as_json(v, depth),
        AMQPValue::DecimalValue(_) | AMQPValue::Void => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(id: &str, headers: BTreeMap<String, String>, body: Vec<u8>) -> Message {
        Message {
            id: id.to_owned(),
            kind: "orders.place".to_owned(),
            source: "/warren/hub".to_owned(),
            time: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            content_type: "application/json".to_owned(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            run: Some(Run { epoch: 2, attempt: 3 }),
            tenant: "acme".to_owned(),
            headers,
            body: body.into(),
        }
    }

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_went(
            headers in proptest::collection::btree_map("[a-w][a-z]{0,20}", ".{0,40}", 0..5),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut headers = headers;
            headers.remove("traceparent");
            let sent = message("m-1", headers, body);
            let outbound = Outbound::new(Route::new("warren.jobs", "orders.place"), &sent).unwrap();
            prop_assert_eq!(read(&outbound.properties, outbound.body.clone()), sent);
        }
    }

    #[test]
    fn a_raw_message_has_properties_and_no_header() {
        let raw = Outbound::raw(Route::new("e", "k"), &message("m-1", BTreeMap::new(), vec![0, 255])).unwrap();
        assert!(raw.properties.headers().is_none() && raw.traceparent().is_some());
        let read = read(&raw.properties, raw.body.clone());
        assert_eq!((read.id.as_str(), read.kind.as_str(), &read.body[..]), ("m-1", "orders.place", &[0, 255][..]));
        assert_eq!((read.run, read.tenant.as_str(), *raw.properties.delivery_mode()), (None, "", Some(2)));
        let long = Outbound::raw(Route::new("e", "k".repeat(256)), &message("m-1", BTreeMap::new(), vec![]));
        assert_eq!(long.unwrap_err(), Unsendable::TooLong { field: "routing key", length: 256 });
    }

    #[test]
    fn a_name_of_256_bytes_is_refused_and_not_a_panic() {
        let long = message(&"x".repeat(256), BTreeMap::new(), vec![]);
        let refused = Outbound::new(Route::new("e", "k"), &long);
        assert_eq!(refused.unwrap_err(), Unsendable::TooLong { field: "message id", length: 256 });
    }

    #[test]
    fn headers_over_the_limit_are_refused() {
        let headers = BTreeMap::from([("note".to_owned(), "x".repeat(MAX_HEADERS))]);
        let refused = Outbound::new(Route::new("e", "k"), &message("m", headers, vec![]));
        assert!(matches!(refused, Err(Unsendable::HeadersTooLarge(_))));
    }

    #[test]
    fn forged_counts_are_not_believed() {
        for forged in [AMQPValue::LongInt(-1), AMQPValue::LongLongInt(i64::MAX), text("7"), AMQPValue::LongInt(0)] {
            let mut table = FieldTable::default();
            table.insert(header::EPOCH.into(), AMQPValue::LongInt(1));
            table.insert(header::ATTEMPT.into(), forged);
            let properties = BasicProperties::default().with_headers(table);
            assert_eq!(read(&properties, Bytes::new()).run, None);
        }
    }

    #[test]
    fn a_copy_drops_death_headers_and_foreign_identity() {
        let mut table = FieldTable::default();
        table.insert("x-death".into(), AMQPValue::Boolean(true));
        table.insert("x-first-death-queue".into(), text("q"));
        table.insert("mine".into(), text("kept"));
        let properties = BasicProperties::default().with_headers(table).with_user_id("guest".into()).with_expiration("1".into());
        let copy =
            Outbound::copy(Route::new("e", "k"), "id".into(), &properties, Bytes::from_static(b"\0"), &[("warren-reason", "r")]);
        let headers = copy.properties.headers().as_ref().unwrap();
        assert!(!headers.contains_key("x-death") && !headers.contains_key("x-first-death-queue"));
        assert!(headers.contains_key("mine") && headers.contains_key("warren-reason"));
        assert!(copy.properties.user_id().is_none() && copy.properties.expiration().is_none());
    }

    #[test]
    fn a_copy_for_the_dead_letters_speaks_for_nobody() {
        let mut table = FieldTable::default();
        table.insert(header::TOKEN.into(), text("secret"));
        table.insert(header::TENANT.into(), text("acme"));
        let properties = BasicProperties::default().with_headers(table);
        let copy = Outbound::copy(Route::new("e", "k"), "id".into(), &properties, Bytes::new(), &[]);
        assert_eq!(read(&copy.properties, Bytes::new()).token(), Some("secret"), "in a rung it is still the same run");
        let letter = read(&copy.without_token().properties, Bytes::new());
        assert_eq!((letter.token(), letter.tenant.as_str()), (None, "acme"));
    }

    #[test]
    fn a_copy_with_too_many_headers_goes_on_as_what_it_is() {
        let mut table = FieldTable::default();
        table.insert("a-large-one".into(), text(&"x".repeat(MAX_HEADERS - 20)));
        table.insert("cloudEvents_source".into(), text("/billing"));
        table.insert(header::TENANT.into(), text("acme"));
        let properties = BasicProperties::default().with_headers(table);
        let copy = Outbound::copy(Route::new("e", "k"), "id".into(), &properties, Bytes::new(), &[]);
        let read = read(&copy.properties, Bytes::new());
        assert_eq!((read.tenant.as_str(), read.source.as_str(), read.headers.len()), ("acme", "/billing", 0));
    }

    #[test]
    fn both_spellings_of_cloudevents_are_read() {
        for prefix in ["cloudEvents_", "cloudEvents:"] {
            let mut table = FieldTable::default();
            table.insert(format!("{prefix}id").as_str().into(), text("e-1"));
            table.insert(format!("{prefix}type").as_str().into(), text("orders.placed"));
            let read = read(&BasicProperties::default().with_headers(table), Bytes::new());
            assert_eq!((read.id.as_str(), read.kind.as_str()), ("e-1", "orders.placed"));
        }
    }
}
