//! One thing that is wrong with a topology.

use std::fmt;

/// Whether a topology may be declared in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It may not: RabbitMQ refuses it, or messages get lost.
    Error,
    /// It may, and does most likely not do what was meant.
    Warning,
}

/// A rule that a topology breaks: which, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Violation {
    /// The stable name of the rule, in kebab-case.
    pub code: &'static str,
    /// Whether it forbids the topology.
    pub severity: Severity,
    /// The object at fault, with its sort: `queue jobs.orders.place`.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Violation {
    pub(crate) fn new(
        code: &'static str,
        object: impl fmt::Display,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { code, severity: Severity::Error, object: object.to_string(), message: message.into(), remedy: remedy.into() }
    }

    /// The same, as something to look at.
    pub(crate) fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }
}

/// One sentence.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {} ({})", self.object, self.message, self.remedy, self.code)
    }
}

impl std::error::Error for Violation {}
