//! A session's time as the one of its device: begins with a claim, and ends when this is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::Sessions;
use super::claiming::Leaving;
use super::post::Post;
use crate::protocol::Close;
use crate::store::{Device, Number, Transport};

/// Which device it is.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) number: Number,
    pub(super) tenant: Box<str>,
    pub(super) id: Box<str>,
    pub(super) user: Box<str>,
}

impl Identity {
    pub(super) fn of(device: &Device) -> Self {
        let said = &device.registration;
        let text = |text: &str| text.to_owned().into_boxed_str();
        Self { number: device.number, tenant: text(&said.tenant), id: text(&said.id), user: text(&said.user) }
    }
}

/// What a claim gave.
pub(crate) struct Tenure {
    pub(super) sessions: Sessions,
    pub(super) identity: Arc<Identity>,
    pub(super) session: Uuid,
    pub(super) fence: i64,
    pub(super) transport: Transport,
    pub(super) post: Arc<Post>,
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.sessions.0.live.forget(self.identity.number, self.fence);
        self.sessions.0.metrics.sessions(self.transport).dec();
        let leaving = Leaving {
            identity: self.identity.clone(),
            fence: self.fence,
            session: self.session,
            transport: self.transport,
            rooms: self.post.rooms(),
        };
        self.sessions.0.leaving.put(leaving);
    }
}

/// The sessions of this process, by their devices.
#[derive(Default)]
pub(super) struct Live(Mutex<BTreeMap<Number, Entry>>);

/// One of them.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) fence: i64,
    pub(super) post: Arc<Post>,
}

/// What a session is told whose device has a newer one.
pub(super) const DISPLACED: &str = "a newer session of this device took its place";

impl Live {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Number, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a new one; one before it ends.
    pub(super) fn enter(&self, device: Number, entry: Entry) {
        let before = self.lock().insert(device, entry);
        if let Some(before) = before {
            before.post.end(Close::Displaced, DISPLACED);
        }
    }

    fn forget(&self, device: Number, fence: i64) {
        let mut live = self.lock();
        if live.get(&device).is_some_and(|entry| entry.fence == fence) {
            live.remove(&device);
        }
    }

    pub(super) fn get(&self, device: Number) -> Option<Entry> {
        self.lock().get(&device).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Up to `many` after `after`, by number.
    pub(super) fn after(&self, after: Number, many: usize) -> Vec<(Number, Entry)> {
        let live = self.lock();
        let next = live.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        next.take(many).map(|(device, entry)| (*device, entry.clone())).collect()
    }

    /// Those that no lane brings anything, or one at a broker that not all processes fill lanes at, as (device, cursor).
    pub(super) fn without_lane(&self, is_filled: impl Fn(&str) -> bool) -> Vec<(Number, i64)> {
        let live = self.lock();
        let waiting = live.iter().filter(|(_, entry)| entry.post.is_open() && !entry.post.is_laned_where(&is_filled));
        waiting.map(|(device, entry)| (*device, entry.post.cursor())).collect()
    }

    /// Ends the session of `device` if its fence is `fence` or an older one.
    pub(super) fn end(&self, device: Number, fence: i64, close: Close, why: &'static str) {
        if let Some(entry) = self.get(device).filter(|entry| entry.fence <= fence) {
            entry.post.end(close, why);
        }
    }
}
