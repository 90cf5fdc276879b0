//! What is with the device or on its way to its end: the window.
//!
//! A message has a place from when it is given until the store has its end. Bytes count while it is with the device only.

use std::time::Instant;

use uuid::Uuid;

use super::events::Tag;
use crate::protocol::Window;

/// A place of the window.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) seq: u64,
    pub(super) id: Uuid,
    pub(super) size: u32,
    /// Its delivery, if the lane brought it.
    pub(super) tag: Option<Tag>,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With the device.
    Given,
    /// Put off by the device until then.
    Off(Instant),
    /// Its end is being written.
    Ending,
}

/// The places, in order of `seq`.
#[derive(Debug, Default)]
pub(super) struct Holding {
    list: Vec<Held>,
    given: u16,
    ending: u16,
    bytes: u32,
}

impl Holding {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Places that are taken.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Messages with the device.
    pub(super) fn given(&self) -> usize {
        self.given.into()
    }

    /// Messages whose end is being written.
    pub(super) fn ending(&self) -> usize {
        self.ending.into()
    }

    /// Messages that are put off.
    pub(super) fn off(&self) -> usize {
        self.len() - self.given() - self.ending()
    }

    /// Bytes with the device.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Whether the bytes allow one more. One that is larger than the window goes alone.
    pub(super) fn fits_bytes(&self, size: u32, window: Window) -> bool {
        self.given == 0 || self.bytes.saturating_add(size) <= window.bytes
    }

    /// Whether one more may be given.
    pub(super) fn fits(&self, size: u32, window: Window) -> bool {
        self.len() < window.messages.into() && self.fits_bytes(size, window)
    }

    /// Takes a place; higher than all the others.
    pub(super) fn push(&mut self, held: Held) {
        debug_assert!(self.list.last().is_none_or(|last| last.seq < held.seq), "{held:?} came late");
        self.count(held.place, held.size, true);
        self.list.push(held);
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Held> {
        self.position(seq).map(|at| &self.list[at])
    }

    /// Those whose end is not being written, lowest first.
    pub(super) fn unended(&self) -> impl Iterator<Item = &Held> {
        self.list.iter().filter(|held| held.place != Place::Ending)
    }

    /// Those up to a `seq`, lowest first.
    pub(super) fn up_to(&self, seq: u64) -> impl Iterator<Item = &Held> {
        self.list.iter().take_while(move |held| held.seq <= seq)
    }

    /// The lowest that is put off no longer.
    pub(super) fn due(&self, now: Instant) -> Option<&Held> {
        self.list.iter().find(|held| matches!(held.place, Place::Off(until) if until <= now))
    }

    /// When the next one is put off no longer, of those that still are.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let untils = self.list.iter().filter_map(|held| match held.place {
            Place::Off(until) if until > now => Some(until),
            _ => None,
        });
        if self.off() == 0 { None } else { untils.min() }
    }

    /// Moves one to another place.
    pub(super) fn turn(&mut self, seq: u64, place: Place) {
        if let Some(at) = self.position(seq) {
            let (before, size) = (self.list[at].place, self.list[at].size);
            self.count(before, size, false);
            self.count(place, size, true);
            self.list[at].place = place;
        }
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Held> {
        let held = self.list.remove(self.position(seq)?);
        self.count(held.place, held.size, false);
        if self.list.is_empty() {
            // Most sessions are idle most of the time.
            self.list = Vec::new();
        }
        Some(held)
    }

    /// The deliveries of the lane are void.
    pub(super) fn forget_tags(&mut self) {
        self.list.iter_mut().for_each(|held| held.tag = None);
    }

    /// All places, lowest first.
    pub(super) fn take(&mut self) -> Vec<Held> {
        std::mem::take(self).list
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.list.capacity() * size_of::<Held>()
    }

    fn position(&self, seq: u64) -> Option<usize> {
        self.list.binary_search_by_key(&seq, |held| held.seq).ok()
    }

    fn count(&mut self, place: Place, size: u32, more: bool) {
        let turn = |count: &mut u16| *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        match place {
            Place::Given => {
                turn(&mut self.given);
                self.bytes = if more { self.bytes.saturating_add(size) } else { self.bytes.saturating_sub(size) };
            }
            Place::Off(_) => {}
            Place::Ending => turn(&mut self.ending),
        }
    }
}
