//! What waits to be written together: one task takes all that is there, so that the cost of one falls as load rises.
//!
//! It has no bound of its own: what is put belongs to a session, or to a request, and those are counted.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Waiting<T> {
    items: Mutex<VecDeque<T>>,
    rung: Notify,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { items: Mutex::default(), rung: Notify::new() }
    }
}

impl<T> Waiting<T> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, item: T) {
        self.lock().push_back(item);
        self.rung.notify_one();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Up to `most` of them, once there is one; `None` once `over` and there is none. For one task.
    pub(super) async fn take(&self, most: usize, over: &CancellationToken) -> Option<Vec<T>> {
        loop {
            {
                let mut items = self.lock();
                if !items.is_empty() {
                    let many = items.len().min(most);
                    let taken = items.drain(..many).collect();
                    if items.is_empty() && items.capacity() > 4096 {
                        items.shrink_to(0);
                    }
                    return Some(taken);
                }
                if over.is_cancelled() {
                    return None;
                }
            }
            tokio::select! {
                () = self.rung.notified() => {}
                () = over.cancelled() => {}
            }
        }
    }
}
