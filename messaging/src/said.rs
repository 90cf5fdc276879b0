//! What a handler says about its attempt while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Words of one attempt, shared by the handler, who says them, and the consumer, who passes them on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Words>);

#[derive(Debug, Default)]
struct Words {
    /// 0 for none.
    http_status: AtomicU16,
}

impl Said {
    pub(crate) fn answered(&self, http_status: u16) {
        self.0.http_status.store(http_status, Ordering::Relaxed);
    }

    /// What a service that the handler called has answered.
    pub(crate) fn http_status(&self) -> Option<u16> {
        Some(self.0.http_status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }
}
