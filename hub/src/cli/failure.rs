//! Why a command did not do what it was asked to: one sentence, and the exit code.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::hub::HubError;

/// A failure, told and then left to the exit code.
#[derive(Debug)]
pub(super) struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// It was asked well and did not work: exit code 1.
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::with_code(1, text)
    }

    /// What was asked, or how it is configured, is wrong: exit code 2.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::with_code(2, text)
    }

    /// With an exit code that the command documents.
    pub(super) fn with_code(code: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), code }
    }

    /// Of a command whose exit code 2 means something else: 1.
    pub(super) fn into_error(self) -> Self {
        Self { code: 1, ..self }
    }

    /// What went wrong.
    pub(super) fn sentence(&self) -> &str {
        &self.text
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "warren: {}", self.text)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let text = error.to_string();
        match error {
            HubError::Topology(_)
            | HubError::Auth(_)
            | HubError::Tracing(_)
            | HubError::Handler(_)
            | HubError::Callbacks(_)
            | HubError::Broker(_) => Self::usage(text),
            HubError::Store { .. } | HubError::Listen { .. } | HubError::Metrics(_) => Self::failed(text),
        }
    }
}

impl From<crate::dev::DevError> for Failure {
    fn from(error: crate::dev::DevError) -> Self {
        Self::failed(error.to_string())
    }
}
