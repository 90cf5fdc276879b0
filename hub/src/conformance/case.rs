//! The cases, and how one ended.

use std::fmt;
use std::time::Duration;

/// What a worker is put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    Normal,
    Duplicate,
    Slow,
    Progress,
    Retry,
    Poison,
    Oversize,
    LateResult,
    CrashAndRestart,
    Drain,
}

impl Case {
    /// All, in the order in which they are run.
    pub(crate) const ALL: [Self; 10] = [
        Self::Normal,
        Self::Duplicate,
        Self::Slow,
        Self::Progress,
        Self::Retry,
        Self::Poison,
        Self::Oversize,
        Self::LateResult,
        Self::CrashAndRestart,
        Self::Drain,
    ];

    /// Its name on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Duplicate => "duplicate",
            Self::Slow => "slow",
            Self::Progress => "progress",
            Self::Retry => "retry",
            Self::Poison => "poison",
            Self::Oversize => "oversize",
            Self::LateResult => "late-result",
            Self::CrashAndRestart => "crash-and-restart",
            Self::Drain => "drain",
        }
    }

    /// The case of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.name() == name)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a case did not come to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The worker did what it may not.
    Fail(String),
    /// The case lacks something; the text says what would let it run.
    NotRun(String),
    /// The broker or this machine does not play along: no case after it can be trusted.
    Unfit(String),
}

impl Stop {
    pub(crate) fn fail(why: impl Into<String>) -> Self {
        Self::Fail(why.into())
    }

    pub(crate) fn not_run(why: impl Into<String>) -> Self {
        Self::NotRun(why.into())
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// With the reason.
    Fail(String),
    /// With what would let it run.
    NotRun(String),
}

/// A case that is over.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) case: Case,
    pub(crate) verdict: Verdict,
    /// What is allowed and yet worth knowing.
    pub(crate) notes: Vec<String>,
    pub(crate) took: Duration,
    /// The worker's last lines, of a case that failed.
    pub(crate) output: Vec<String>,
}
