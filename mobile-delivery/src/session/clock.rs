//! What a session does because time has passed. One timer serves all of it; it may ring early and is set again then, so that a frame
//! from the client, which moves the deadline of its silence, costs no timer.

use std::time::{Duration, Instant};

use super::events::Action;
use super::{Phase, Session};
use crate::protocol::Close;

/// What a heartbeat may be late.
const LATE: Duration = Duration::from_secs(10);

impl Session {
    /// Closes, or frees what was waited for too long.
    pub(super) fn rung(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.armed = None;
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.deadline) {
            match self.phase {
                Phase::Handshake => self.close(Close::HelloLate, "no `hello` came in time", None, out),
                Phase::Claiming => {
                    self.close(Close::Unavailable, "the device could not be claimed in time: come back", None, out)
                }
                _ => self.close(Close::Draining, "", None, out),
            }
        } else if passed(self.silent_at()) {
            self.close(Close::Silent, "nothing was heard within the heartbeat: send `ping`", None, out);
        } else if passed(self.auth_until) {
            let what = match self.one_way {
                true => "the token has run out: come back with another",
                false => "the token has run out: send `auth` with another before that",
            };
            self.close(Close::TokenExpired, what, None, out);
        } else if passed(self.slow_at) {
            self.close(Close::SlowConsumer, "the window was full and nothing was acked: ack, or ask for a larger one", None, out);
        } else {
            self.asked.take_if(|asked| asked.again <= now);
            self.log.rung(now);
        }
        self.checking.rung(now);
    }

    /// Looks whether the device makes progress, once everything else is done.
    pub(super) fn watch(&mut self, now: Instant) {
        if !self.is_full() {
            self.slow_at = None;
        } else if self.slow_at.is_none() {
            self.slow_at = Some(now + self.limits.ack_within);
        }
    }

    /// Whether the device is what is waited for: what ends are being written does not count.
    fn is_full(&self) -> bool {
        if self.log.is_full(self.window) {
            return true;
        }
        let held = &self.held;
        let bytes = held.bytes() >= self.window.bytes || !held.fits_bytes(self.next_size, self.window);
        let full = held.given() + held.off() >= self.window.messages.into() || bytes;
        // What is not read, since not enough is free, waits for the device as well.
        held.given() > 0 && (full || (self.is_behind() && !self.has_room()))
    }

    /// Sets the timer, if it must ring sooner than it would.
    pub(super) fn arm(&mut self, now: Instant, out: &mut Vec<Action>) {
        let asked = self.asked.as_ref().map(|asked| asked.again);
        // What is put off is asked for only while the session is open.
        let due = if self.phase == Phase::Open { self.held.next_due(now) } else { None };
        let rest = self.rest_until.filter(|_| self.phase == Phase::Open);
        let log = if self.phase == Phase::Open { self.log.next() } else { None };
        let all = [self.deadline, self.silent_at(), self.auth_until, self.slow_at, asked, due, rest, log, self.checking.next()];
        let Some(next) = all.into_iter().flatten().min() else { return };
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            out.push(Action::Wake(next));
        }
    }

    fn silent_at(&self) -> Option<Instant> {
        (!self.one_way && matches!(self.phase, Phase::Open | Phase::Draining)).then(|| self.heard + self.heartbeat + LATE)
    }
}
