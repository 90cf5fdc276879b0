//! What a handler says about its attempt while it runs: what a service it called answered, and how far it is.
//!
//! Words are put down in memory and never make the handler wait. Whoever passes progress on takes it about once a second, so
//! that of many words between two looks only the last is passed on, and what was said in the last moment of an attempt may not be.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// How often progress is passed on.
pub const PACE: Duration = Duration::from_secs(1);

/// The longest note, in characters.
pub const NOTE_MAX: usize = 200;

/// How far an attempt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// For people, at most [`NOTE_MAX`] characters.
    pub note: String,
    /// When it was said.
    pub at: Timestamp,
}

impl Progress {
    /// As said now; more than 100 is 100, and a long note is cut.
    pub fn now(percent: u8, note: &str) -> Self {
        Self { percent: percent.min(100), note: note.chars().take(NOTE_MAX).collect(), at: Timestamp::now() }
    }
}

/// Words of one attempt, shared by the handler, who says them, and the consumer, who passes them on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Words>);

#[derive(Debug, Default)]
struct Words {
    /// 0 for none.
    http_status: AtomicU16,
    /// What is not yet passed on.
    progress: Mutex<Option<Progress>>,
}

impl Said {
    pub(crate) fn answered(&self, http_status: u16) {
        self.0.http_status.store(http_status, Ordering::Relaxed);
    }

    /// What a service that the handler called has answered.
    pub(crate) fn http_status(&self) -> Option<u16> {
        Some(self.0.http_status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    pub(crate) fn progress(&self, progress: Progress) {
        *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// What was said since this was last asked.
    pub(crate) fn take_progress(&self) -> Option<Progress> {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_words_the_last_is_passed_on_once() {
        let said = Said::default();
        assert_eq!((said.http_status(), said.take_progress()), (None, None));
        said.answered(503);
        said.progress(Progress::now(10, "begun"));
        said.progress(Progress::now(200, &"ü".repeat(300)));
        let told = said.take_progress().unwrap();
        assert_eq!((told.percent, told.note.chars().count()), (100, NOTE_MAX));
        assert_eq!((said.http_status(), said.take_progress()), (Some(503), None));
    }
}
