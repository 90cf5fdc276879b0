//! What goes to many: entries of the tenant's log, of which the device has heard those up to some number. They have a window of their own, of the same size as
//! that of the device's own messages, so that neither waits for the other.
//!
//! Nothing is kept of an entry but its number, size and id while it is with the device. What was acked is one number, which only rises.

use std::time::Instant;

use uuid::Uuid;

use super::events::{Action, Ask, LogPage};
use super::{Limits, Phase, Session};
use crate::protocol::{Message, ServerFrame, Window, Withdrawal};

/// Where a session stands with the log.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// Everything for the device up to here was given, or was never for it.
    cursor: u64,
    /// The highest that was given; what may be acked.
    highest: u64,
    /// There is something up to here.
    wanted: u64,
    /// With the device: number, size, id.
    given: Vec<(u64, u32, Uuid)>,
    bytes: u32,
    /// What the device has acked, and what of it the store has.
    acked: u64,
    stored: u64,
    asked: Option<Asked>,
    asks: u32,
    /// The size of what did not fit; 0 for nothing.
    next_size: u32,
    /// The log is not read until then.
    pub(super) rest_until: Option<Instant>,
}

#[derive(Debug)]
struct Asked {
    number: u32,
    /// When it is asked again.
    again: Instant,
}

impl Track {
    pub(super) fn begin(&mut self, heard: u64, last: Option<u64>) {
        (self.cursor, self.acked, self.stored, self.wanted) = (heard, heard, heard, last.unwrap_or(0));
    }

    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(super) fn want(&mut self, entry: u64) {
        self.wanted = self.wanted.max(entry);
    }

    fn is_behind(&self) -> bool {
        self.wanted > self.cursor
    }

    /// Whether everything that is known of is given, acked and stored.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_behind() && self.is_done()
    }

    /// Whether nothing is with the device, and the store has what it acked.
    pub(super) fn is_done(&self) -> bool {
        self.given.is_empty() && self.acked == self.stored
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.given.capacity() * size_of::<(u64, u32, Uuid)>()
    }

    fn fits(&self, size: u32, window: Window) -> bool {
        self.given.len() < window.messages.into() && (self.given.is_empty() || self.bytes.saturating_add(size) <= window.bytes)
    }

    /// Whether the device is what is waited for.
    pub(super) fn is_full(&self, window: Window) -> bool {
        !self.given.is_empty() && self.is_behind() && !self.fits(self.next_size.max(1), window)
    }

    /// When it must be looked at again.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.asked.as_ref().map(|asked| asked.again), self.rest_until].into_iter().flatten().min()
    }

    /// Gives up a question that was not answered in time.
    pub(super) fn rung(&mut self, now: Instant) {
        self.asked.take_if(|asked| asked.again <= now);
        self.rest_until.take_if(|until| *until <= now);
    }

    /// Asks, if there is something to ask for, and room for it.
    pub(super) fn ask(&mut self, window: Window, limits: &Limits, now: Instant) -> Option<Ask> {
        let rests = self.rest_until.is_some_and(|until| until > now);
        if self.asked.is_some() || rests || !self.is_behind() || !self.fits(self.next_size, window) {
            return None;
        }
        self.rest_until = None;
        self.asks = self.asks.wrapping_add(1);
        self.asked = Some(Asked { number: self.asks, again: now + limits.answer_within });
        let free = usize::from(window.messages) - self.given.len();
        let messages = u16::try_from(free).unwrap_or(window.messages);
        let bytes = window.bytes.saturating_sub(self.bytes);
        Some(Ask { number: self.asks, after: self.cursor, messages, bytes })
    }

    pub(super) fn unread(&mut self, number: u32, limits: &Limits, now: Instant) {
        if self.asked.take_if(|asked| asked.number == number).is_some() {
            self.rest_until = Some(now + limits.ask_again);
        }
    }

    /// What is to be given of a page.
    fn read(&mut self, number: u32, page: LogPage, window: Window, seen: &mut Vec<Uuid>, again: Instant) -> Vec<Message> {
        if self.asked.take_if(|asked| asked.number == number).is_none() {
            return Vec::new();
        }
        let before = self.cursor;
        self.next_size = 0;
        let mut out = Vec::with_capacity(page.messages.len());
        for message in page.messages {
            let Some(entry) = message.logged.as_ref().map(|logged| logged.entry).filter(|entry| *entry > self.cursor) else {
                continue;
            };
            if let Some(at) = seen.iter().position(|id| *id == message.id) {
                seen.swap_remove(at);
                (self.cursor, self.highest) = (entry, entry);
                continue;
            }
            let size = u32::try_from(message.size()).unwrap_or(u32::MAX);
            if !self.fits(size, window) {
                self.next_size = size;
                return out;
            }
            self.given.push((entry, size, message.id));
            (self.cursor, self.highest, self.bytes) = (entry, entry, self.bytes.saturating_add(size));
            out.push(message);
        }
        self.cursor = self.cursor.max(page.through);
        if self.cursor == before && self.is_behind() {
            // What was read was not there yet: that is not asked again and again.
            self.rest_until = Some(again);
        }
        out
    }

    /// The device is done with everything up to `entry`; what is to be stored of that.
    fn ack(&mut self, entry: u64) -> Option<u64> {
        self.free(entry);
        self.store()
    }

    /// What the device has acked, when it is news: with empty hands, everything that was passed over too.
    fn store(&mut self) -> Option<u64> {
        let acked = self.given.first().map_or(self.cursor, |(first, ..)| first - 1).min(self.highest.max(self.acked));
        let news = acked > self.acked;
        self.acked = self.acked.max(acked);
        news.then_some(self.acked)
    }

    /// Whether something is with the device.
    pub(super) fn is_with_device(&self) -> bool {
        !self.given.is_empty()
    }

    /// The store has it that the device has heard everything up to here, whoever has told it; whether that was news.
    fn heard(&mut self, entry: u64) -> bool {
        self.stored = self.stored.max(entry);
        let news = entry > self.acked;
        if news {
            self.acked = entry;
            self.free(entry);
        }
        news
    }

    /// The device has these no more.
    fn free(&mut self, entry: u64) {
        let kept = self.given.partition_point(|(given, ..)| *given <= entry);
        let freed: u32 = self.given.drain(..kept).map(|(_, size, _)| size).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        if self.given.is_empty() {
            self.given = Vec::new();
        }
    }

    /// Takes an entry back from the device; its id, if it has it.
    fn recall(&mut self, entry: u64) -> Option<Uuid> {
        let at = self.given.binary_search_by_key(&entry, |(given, ..)| *given).ok()?;
        let (_, size, id) = self.given.remove(at);
        self.bytes = self.bytes.saturating_sub(size);
        Some(id)
    }
}

impl Session {
    pub(super) fn ask_log(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.phase == Phase::Open {
            out.extend(self.log.ask(self.window, &self.limits, now).map(Action::AskLog));
        }
    }

    pub(super) fn log_read(&mut self, number: u32, page: LogPage, now: Instant, out: &mut Vec<Action>) {
        if self.phase != Phase::Open {
            return;
        }
        for message in self.log.read(number, page, self.window, &mut self.seen, now + self.limits.ask_again) {
            self.idle_told = false;
            out.push(Action::Send(ServerFrame::Deliver(Box::new(message))));
        }
        // What it has seen before is acked by that.
        out.extend(self.log.store().map(|entry| Action::Hear { entry }));
        self.forget_seen();
    }

    /// What the client has handled before is asked for until both backlogs are read.
    pub(super) fn forget_seen(&mut self) {
        if !self.backlog && !self.log.is_behind() {
            self.seen = Vec::new();
        }
    }

    pub(super) fn ack_log(&mut self, entry: Option<u64>, out: &mut Vec<Action>) {
        let Some(entry) = entry else { return };
        if entry > self.log.highest {
            let what = format!("{entry} was not given in this session, {} is the last that was", self.log.highest);
            return self.wrong(&what, "entry", out);
        }
        self.slow_at = None;
        out.extend(self.log.ack(entry).map(|entry| Action::Hear { entry }));
    }

    pub(super) fn heard_log(&mut self, entry: u64) {
        if self.log.heard(entry) {
            self.slow_at = None;
        }
    }

    pub(super) fn recalled(&mut self, entry: u64, out: &mut Vec<Action>) {
        if let Some(id) = self.log.recall(entry) {
            out.push(Action::Send(ServerFrame::Cancel { ids: vec![id], reason: Withdrawal::Cancelled }));
            out.extend(self.log.store().map(|entry| Action::Hear { entry }));
        }
    }
}
