//! What the doctor says: one finding, by a rule with a stable code.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Good to know; nothing has to be done.
    Info,
    /// It works, and will not for ever, or not at this size.
    Warning,
    /// Messages are lost, refused or stuck, or will be as soon as something happens that does happen.
    Error,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One sort of finding. Its code is stable: scripts and run books name it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) code: &'static str,
    pub(crate) severity: Severity,
    /// Why it matters.
    pub(crate) why: &'static str,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    /// Of what, as in "queue `jobs.orders.place`".
    pub(crate) object: String,
    /// What is so, with its values.
    pub(crate) found: String,
    pub(crate) why: &'static str,
    /// A command, or a line of a configuration.
    pub(crate) remedy: String,
}

impl Rule {
    pub(crate) fn finds(&self, object: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            severity: self.severity,
            code: self.code,
            object: object.into(),
            found: found.into(),
            why: self.why,
            remedy: remedy.into(),
        }
    }
}
