//! What is wrong with a configuration, said so that the next step is clear.

use std::fmt;
use std::path::PathBuf;

use broker_topology::{Severity, Violation};
use serde::{Serialize, Serializer};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File {
        /// Which one, as it was named.
        path: PathBuf,
        /// On which line, from 1; `None` when it concerns the whole file.
        line: Option<usize>,
    },
    /// In this environment variable.
    Variable(String),
    /// By a flag of the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in `broker.url` or `kind[0].timeout`; empty when it concerns a whole file, or nothing that is written anywhere.
    pub key: String,
    /// Where it was set; `None` for a default.
    pub origin: Option<Origin>,
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// What is wrong with it.
    pub fault: Fault,
}

impl Problem {
    /// What makes a configuration unusable.
    pub(super) fn new(key: &str, origin: Option<Origin>, code: &'static str, text: impl Into<String>) -> Self {
        let fault = Fault::Setting { code, text: text.into() };
        Self { key: key.to_owned(), origin, severity: Severity::Error, fault }
    }

    /// What the topology breaks or looks like, at `key`.
    pub(super) fn of_topology(key: String, violation: Violation) -> Self {
        Self { key, origin: None, severity: violation.severity, fault: Fault::Topology(violation) }
    }

    /// As something to look at.
    pub(super) fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        match &self.fault {
            Fault::Setting { code, .. } => code,
            Fault::Topology(violation) => violation.code,
        }
    }
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A key, or its value.
    Setting {
        /// Its sort: one of [`Fault::SETTINGS`].
        code: &'static str,
        /// What is wrong and what to write instead.
        text: String,
    },
    /// The topology that comes of it.
    Topology(Violation),
}

impl Fault {
    /// A file that cannot be read.
    pub const UNREADABLE: &str = "config-unreadable";
    /// A key that nobody knows.
    pub const UNKNOWN: &str = "config-unknown-key";
    /// A value that cannot be.
    pub const VALUE: &str = "config-value";
    /// Keys that do not fit together.
    pub const CONFLICT: &str = "config-conflict";
    /// Every code of a setting; those of a topology are in the README of `broker-topology`.
    pub const SETTINGS: [&str; 4] = [Self::UNREADABLE, Self::UNKNOWN, Self::VALUE, Self::CONFLICT];
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        match &self.fault {
            Fault::Topology(violation) => violation.fmt(f),
            Fault::Setting { text, .. } if self.key.is_empty() => f.write_str(text),
            Fault::Setting { text, .. } => write!(f, "`{}` {text}", self.key),
        }
    }
}

/// For programs: `severity`, `code`, `object` (a key, or an object of the topology), `file` and `line`, or `source` when it was set
/// elsewhere, `message`, and `remedy` where that is not part of the message. What does not apply is null.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            severity: Severity,
            code: &'a str,
            object: &'a str,
            key: &'a str,
            file: Option<String>,
            line: Option<usize>,
            source: Option<String>,
            message: &'a str,
            remedy: Option<&'a str>,
        }
        let (file, line, source) = match &self.origin {
            Some(Origin::File { path, line }) => (Some(path.display().to_string()), *line, None),
            other => (None, None, other.as_ref().map(Origin::to_string)),
        };
        let (code, object, message, remedy) = match &self.fault {
            Fault::Setting { code, text } => (*code, self.key.as_str(), text.as_str(), None),
            Fault::Topology(Violation { code, object, message, remedy, .. }) => {
                (*code, object.as_str(), message.as_str(), Some(remedy.as_str()))
            }
        };
        Shown { severity: self.severity, code, object, key: &self.key, file, line, source, message, remedy }.serialize(serializer)
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Everything that is wrong with it, at least one.
    pub problems: Vec<Problem>,
    /// What looks wrong, and forbids nothing.
    pub hints: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
