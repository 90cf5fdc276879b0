//! Which message is given next, from the store or from the lane.
//!
//! The *cursor* is the `seq` up to which everything was given or has ended. The session is *behind* while the store may hold something
//! after it that the lane will not bring in order. Then it reads, a page at a time and only into free places; a delivery that
//! comes meanwhile is parked, its payload forgotten, until a page has passed its `seq`. When it is not behind, a delivery that follows
//! the cursor is given as it is.

use std::time::Instant;

use super::events::{Action, Ask, Delivery, Ended, Page, Tag};
use super::held::{Held, Place};
use super::{Phase, Session};
use crate::protocol::{Message, ServerFrame};

/// A question that is not answered yet.
#[derive(Debug)]
pub(super) struct Asked {
    number: u32,
    what: What,
    /// What was wanted when it was asked: the answer speaks of it.
    wanted: u64,
    /// And what had ended by then.
    ended: u64,
    /// When it is asked again.
    pub(super) again: Instant,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// What is after the cursor.
    Next,
    /// One that was put off.
    Again(u64),
}

impl Session {
    /// Whether the store must be read before a delivery may be given.
    pub(super) fn is_behind(&self) -> bool {
        self.backlog || self.wanted > self.cursor
    }

    /// The store has, or had, something up to here.
    pub(super) fn want(&mut self, seq: u64) {
        self.wanted = self.wanted.max(seq);
    }

    /// What was read, or is being read, may be older than what is there now.
    pub(super) fn read_anew(&mut self) {
        (self.backlog, self.asked) = (true, None);
    }

    /// The lane brought something.
    pub(super) fn delivered(&mut self, delivery: Delivery, now: Instant, out: &mut Vec<Action>) {
        let Delivery { tag, seq, after, message } = delivery;
        if seq <= self.cursor {
            return ack_lane(tag, out);
        }
        // A question about what comes next leaves it behind until it is answered.
        let follows = self.phase == Phase::Open && !self.is_behind() && after <= self.cursor;
        match message {
            Some(message) if follows => {
                let size = size(&message);
                // What was put off goes before what is new.
                if self.held.fits(size, self.window) && self.held.due(now).is_none() {
                    self.give(Message { seq, ..message }, Some(tag), out);
                    self.filled |= self.held.len() >= self.window.messages.into();
                } else {
                    self.next_size = size;
                    self.park(seq, tag, out);
                }
            }
            // Also what is no more: the store says whether the device is to be told of a gap.
            _ => self.park(seq, tag, out),
        }
    }

    /// Keeps the tag of a delivery for when its row is read. More than the broker should have sent are acked: they are rows.
    fn park(&mut self, seq: u64, tag: Tag, out: &mut Vec<Action>) {
        self.want(seq);
        if self.parked.len() >= 2 * usize::from(self.window.messages) {
            return ack_lane(tag, out);
        }
        let at = self.parked.partition_point(|(parked, _)| *parked <= seq);
        self.parked.insert(at, (seq, tag));
    }

    /// Asks the store, if there is something to ask for, and room for it.
    pub(super) fn ask(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.phase != Phase::Open || self.asked.is_some() || self.rest_until.is_some_and(|until| until > now) {
            return;
        }
        self.rest_until = None;
        let due = self.held.due(now).map(|held| (held.seq, held.size));
        let (what, after, messages, bytes) = match due {
            Some((_, size)) if !self.held.fits_bytes(size, self.window) => return,
            Some((seq, size)) => (What::Again(seq), seq - 1, 1, size),
            None if self.is_behind() && self.has_room() => {
                let free = usize::from(self.window.messages) - self.held.len();
                let bytes = self.window.bytes.saturating_sub(self.held.bytes());
                (What::Next, self.cursor, u16::try_from(free).unwrap_or(self.window.messages), bytes)
            }
            None => return,
        };
        self.asks = self.asks.wrapping_add(1);
        let number = self.asks;
        let again = now + self.limits.answer_within;
        self.asked = Some(Asked { number, what, wanted: self.wanted, ended: self.ended, again });
        out.push(Action::Ask(Ask { number, after, messages, bytes }));
    }

    /// Half of what can be free is, so that a page is worth its statement; and what did not fit last time does.
    pub(super) fn has_room(&self) -> bool {
        let (held, window) = (&self.held, self.window);
        let usable = usize::from(window.messages).saturating_sub(held.off());
        let places = usable > 0 && (held.given() + held.ending()) * 2 <= usable;
        places && held.bytes() <= window.bytes / 2 && held.fits(self.next_size, window)
    }

    /// The store could not answer, or did not.
    pub(super) fn unread(&mut self, number: u32, now: Instant) {
        if self.asked.as_ref().is_some_and(|asked| asked.number == number) {
            self.asked = None;
            self.rest_until = Some(now + self.limits.ask_again);
        }
    }

    /// The store answered. Only the answer that is waited for counts.
    pub(super) fn read(&mut self, number: u32, page: Page, now: Instant, out: &mut Vec<Action>) {
        let Some(asked) = self.asked.take_if(|asked| asked.number == number) else { return };
        if self.phase != Phase::Open {
            return;
        }
        match asked.what {
            What::Next => {
                let before = self.cursor;
                self.turn_page(asked.wanted, asked.ended, page, out);
                if self.backlog && self.cursor == before && self.next_size == 0 {
                    // It says that there is more, and brings nothing: that is not asked again and again.
                    self.rest_until = Some(now + self.limits.ask_again);
                }
            }
            What::Again(seq) => self.give_again(seq, page, out),
        }
    }

    fn turn_page(&mut self, wanted: u64, ended: u64, page: Page, out: &mut Vec<Action>) {
        if let Some(gap) = page.gap.filter(|gap| gap.number > self.gap_told) {
            (self.gap_told, self.idle_told) = (gap.number, false);
            out.push(Action::Send(ServerFrame::Gap(gap)));
        }
        self.next_size = 0;
        let (mut ends, mut whole) = (Vec::new(), !page.more);
        for message in page.messages {
            if message.seq <= self.cursor {
                continue;
            }
            let tag = self.unpark(message.seq);
            if let Some(at) = self.seen.iter().position(|id| *id == message.id) {
                self.seen.swap_remove(at);
                self.hold(&message, tag, 0, Place::Ending);
                ends.push(super::events::End { seq: message.seq, id: message.id, ended: Ended::Delivered });
                continue;
            }
            let size = size(&message);
            if !self.held.fits(size, self.window) {
                // It is read again when it fits, and its delivery waits with it.
                (self.next_size, whole) = (size, false);
                if let Some(tag) = tag {
                    self.park(message.seq, tag, out);
                }
                break;
            }
            self.give(message, tag, out);
        }
        self.backlog = !whole;
        let mut passed = self.cursor;
        if whole {
            self.cursor = self.cursor.max(page.through).max(ended);
            // What was wanted before the read and is not in it is no more.
            passed = self.cursor.max(wanted);
            if self.wanted <= passed {
                self.wanted = 0;
            }
            self.forget_seen();
        }
        let gone = self.parked.partition_point(|(seq, _)| *seq <= passed);
        self.parked.drain(..gone).for_each(|(_, tag)| ack_lane(tag, out));
        self.settle(ends, out);
    }

    fn give_again(&mut self, seq: u64, mut page: Page, out: &mut Vec<Action>) {
        // It may tell of others instead, which are read in their turn.
        page.messages.iter().for_each(|message| self.want(message.seq));
        if !self.held.get(seq).is_some_and(|held| matches!(held.place, Place::Off(_))) {
            return;
        }
        match page.messages.drain(..).find(|message| message.seq == seq) {
            Some(message) => {
                self.held.turn(seq, Place::Given);
                out.push(Action::Send(ServerFrame::Deliver(Box::new(Message { dup: true, ..message }))));
            }
            None => self.free(seq, out),
        }
    }

    /// A place is free; its delivery is settled with it.
    pub(super) fn free(&mut self, seq: u64, out: &mut Vec<Action>) {
        if let Some(tag) = self.held.remove(seq).and_then(|held| held.tag) {
            ack_lane(tag, out);
        }
    }

    fn give(&mut self, message: Message, tag: Option<Tag>, out: &mut Vec<Action>) {
        self.hold(&message, tag, size(&message), Place::Given);
        (self.highest, self.idle_told) = (self.highest.max(message.seq), false);
        out.push(Action::Send(ServerFrame::Deliver(Box::new(message))));
    }

    fn hold(&mut self, message: &Message, tag: Option<Tag>, size: u32, place: Place) {
        self.cursor = message.seq;
        self.held.push(Held { seq: message.seq, id: message.id, size, tag, place });
    }

    /// The tag of a delivery that was parked.
    fn unpark(&mut self, seq: u64) -> Option<Tag> {
        let at = self.parked.binary_search_by_key(&seq, |(parked, _)| *parked).ok()?;
        Some(self.parked.remove(at).1)
    }
}

/// Adds to what is acked already.
fn ack_lane(tag: Tag, out: &mut Vec<Action>) {
    match out.last_mut() {
        Some(Action::AckLane(tags)) => tags.push(tag),
        _ => out.push(Action::AckLane(vec![tag])),
    }
}

fn size(message: &Message) -> u32 {
    u32::try_from(message.size()).unwrap_or(u32::MAX)
}
