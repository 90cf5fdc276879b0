//! What the device acks by requests, at any process, is in the store before the session hears of it: it asks what became of what it holds.
//!
//! A word of an ack is a hint, and may be lost: a session that has held something for a while asks by itself as well. One question is under way at a
//! time; a word that comes meanwhile leads to another, since the answer may be older.

use std::time::Instant;

use super::events::Action;
use super::held::Place;
use super::{Phase, Session};

#[derive(Debug, Default)]
pub(super) struct Checking {
    wanted: bool,
    /// Until when an answer is waited for.
    until: Option<Instant>,
    /// When it is asked without a word.
    at: Option<Instant>,
}

impl Checking {
    /// Something was acked.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn rung(&mut self, now: Instant) {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.until) {
            (self.until, self.wanted) = (None, true);
        }
        if passed(self.at) {
            (self.at, self.wanted) = (None, true);
        }
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.at).min()
    }
}

impl Session {
    /// Asks, if there is reason to.
    pub(super) fn check(&mut self, now: Instant, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Open | Phase::Draining) {
            return;
        }
        let (rows, log) = (self.held.unended().next().is_some(), self.log.is_with_device());
        if !rows && !log {
            (self.checking.wanted, self.checking.at) = (false, None);
            return;
        }
        if self.checking.wanted && self.checking.until.is_none() {
            let until = rows.then(|| now + self.limits.answer_within);
            self.checking = Checking { wanted: false, until, at: None };
            if rows {
                out.push(Action::Check(self.held.unended().map(|held| (held.seq, held.id)).collect()));
            }
            if log {
                out.push(Action::CheckLog);
            }
        }
        let every = self.limits.check_every;
        self.checking.at.get_or_insert_with(|| now + every);
    }

    /// The store has the ends of these, which the device acked by another way.
    pub(super) fn checked(&mut self, ended: &[u64], out: &mut Vec<Action>) {
        self.checking.until = None;
        for seq in ended {
            // The end of one that was acked here as well is answered on its own.
            if self.held.get(*seq).is_some_and(|held| held.place != Place::Ending) {
                self.free(*seq, out);
                self.slow_at = None;
            }
        }
    }
}
