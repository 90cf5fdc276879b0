//! The two classes of jobs.

use std::fmt;

use crate::names::Kind;

/// Which of two classes a job is of. Jobs of one class have no order among themselves but that of their queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// What a job is unless somebody says otherwise.
    #[default]
    Normal,
    /// Goes before the normal jobs of its kind.
    High,
}

impl Priority {
    /// Both, in the order of [`Ord`].
    pub const ALL: [Self; 2] = [Self::Normal, Self::High];

    /// The word for it: `normal` or `high`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// The class of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }

    /// The key on `warren.jobs` of a job of `kind`: `<kind>` or `<kind>.high`.
    pub fn key(self, kind: &Kind) -> String {
        match self {
            Self::Normal => kind.to_string(),
            Self::High => format!("{kind}.high"),
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
