//! Argument values, and the argument names that this crate writes or reads.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub(crate) const QUEUE_TYPE: &str = "x-queue-type";
pub(crate) const MESSAGE_TTL: &str = "x-message-ttl";
pub(crate) const EXPIRES: &str = "x-expires";
pub(crate) const MAX_LENGTH: &str = "x-max-length";
pub(crate) const MAX_LENGTH_BYTES: &str = "x-max-length-bytes";
pub(crate) const OVERFLOW: &str = "x-overflow";
pub(crate) const DELIVERY_LIMIT: &str = "x-delivery-limit";
pub(crate) const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
pub(crate) const DEAD_LETTER_KEY: &str = "x-dead-letter-routing-key";
pub(crate) const DEAD_LETTER_STRATEGY: &str = "x-dead-letter-strategy";
pub(crate) const SINGLE_ACTIVE_CONSUMER: &str = "x-single-active-consumer";
pub(crate) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";
/// The mark that says who declared an object.
pub(crate) const OWNER: &str = "warren-owner";
/// The mark that says what an object is for.
pub(crate) const DESCRIPTION: &str = "warren-description";

pub(crate) const AT_LEAST_ONCE: &str = "at-least-once";
pub(crate) const REJECT_PUBLISH: &str = "reject-publish";

/// One value of an AMQP argument table or of a policy: the three sorts that RabbitMQ's queue arguments use.
///
/// On the wire: long string, signed 64-bit integer, boolean.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(untagged)]
pub enum Argument {
    /// A string.
    Text(String),
    /// A number. Lengths in messages or bytes, times in milliseconds.
    Integer(i64),
    /// Yes or no.
    Bool(bool),
}

/// An argument table, sorted by name.
pub type Arguments = BTreeMap<String, Argument>;

impl Argument {
    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// As JSON carries it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Bool(flag) => (*flag).into(),
        }
    }

    /// What JSON carries, if it is of these sorts: a list, a table, a fraction or a number of more than 63 bits is not.
    pub fn of_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.as_str().into()),
            Value::Bool(flag) => Some((*flag).into()),
            Value::Number(number) => number.as_i64().map(Self::from),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The number, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Argument {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "`{text}`"),
            Self::Integer(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
        }
    }
}
