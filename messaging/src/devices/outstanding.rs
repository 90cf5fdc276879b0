//! What is under way for each device in this process, so that whoever takes its queue away can wait for it, and keep more from beginning.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Devices of which something is under way, or that are fenced.
#[derive(Default)]
pub(super) struct Outstanding {
    devices: Mutex<HashMap<u64, State>>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    under_way: usize,
    fenced: bool,
}

/// Something that is under way, until it is dropped.
pub(super) struct Begun {
    all: Arc<Outstanding>,
    number: u64,
}

/// Nothing begins for the device until it is dropped.
pub(super) struct Fence {
    all: Arc<Outstanding>,
    number: u64,
}

impl Outstanding {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, State>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins something; `None` while the device is fenced.
    pub(super) fn begin(self: &Arc<Self>, number: u64) -> Option<Begun> {
        let mut devices = self.lock();
        let state = devices.entry(number).or_default();
        if state.fenced {
            return None;
        }
        state.under_way += 1;
        Some(Begun { all: self.clone(), number })
    }

    /// Begins something once the device is not fenced.
    pub(super) async fn begin_unfenced(self: &Arc<Self>, number: u64) -> Begun {
        self.once(|| self.begin(number)).await
    }

    /// Fences the device once it is not fenced.
    pub(super) async fn fence(self: &Arc<Self>, number: u64) -> Fence {
        let fenced = || {
            let mut devices = self.lock();
            let state = devices.entry(number).or_default();
            (!std::mem::replace(&mut state.fenced, true)).then(|| Fence { all: self.clone(), number })
        };
        self.once(fenced).await
    }

    async fn once<T>(&self, attempt: impl Fn() -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Armed before the look, so that no change falls between.
            changed.as_mut().enable();
            if let Some(done) = attempt() {
                return done;
            }
            changed.await;
        }
    }

    fn leave(&self, number: u64, change: impl FnOnce(&mut State)) {
        let mut devices = self.lock();
        if let Entry::Occupied(mut found) = devices.entry(number) {
            let was_fenced = found.get().fenced;
            change(found.get_mut());
            let State { under_way, fenced } = found.get();
            if *under_way == 0 && !fenced {
                found.remove();
            }
            drop(devices);
            if was_fenced {
                self.changed.notify_waiters();
            }
        }
    }
}

impl Fence {
    /// Waits until nothing is under way that began before.
    pub(super) async fn clear(&self) {
        let is_clear = || self.all.lock().get(&self.number).is_none_or(|state| state.under_way == 0).then_some(());
        self.all.once(is_clear).await;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.all.leave(self.number, |state| state.under_way -= 1);
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.all.leave(self.number, |state| state.fenced = false);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_fence_waits_for_what_began_and_keeps_more_from_beginning() {
        let all = Arc::new(Outstanding::default());
        let (one, two) = (all.begin(7).unwrap(), all.begin(7).unwrap());
        let fence = all.fence(7).await;
        assert!(all.begin(7).is_none() && all.begin(8).is_some());
        let mut clear = Box::pin(fence.clear());
        assert!(clear.as_mut().now_or_never().is_none());
        drop(one);
        assert!(clear.as_mut().now_or_never().is_none());
        drop(two);
        clear.await;
        let mut next = Box::pin(all.begin_unfenced(7));
        let mut other = Box::pin(all.fence(7));
        assert!(next.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        drop(fence);
        let next = next.await;
        drop((next, other.await));
        assert!(all.lock().is_empty());
    }
}
