//! One device's session, as a value: what happened goes in, what is to be done comes out. No I/O, no clock, no task; the same over
//! every transport.
//!
//! ```text
//!              hello            claimed             read to the end
//!   Handshake -------> Claiming -------> Open: behind ----------> Open: live
//!       |                 |               |    ^                    |   |
//!       | late, wrong     | refused       |    '--------------------'   |
//!       |                 |               |     a delivery out of order |
//!       v                 v               v  drain                      v
//!     Closed <--------- Closed <----- Draining <------------------------'
//! ```
//!
//! Owns the order and number of what is given, which acks count, what is settled where, and when it is over. Refuses to own rows,
//! queues, tokens and sockets: whoever drives it has them.
//!
//! It guarantees, whatever order events come in:
//!
//! * messages are given in rising `seq`, but those that the device put off: they keep their place in the window, are offered again
//!   after their delay and before anything new, and what is new may have gone ahead of them meanwhile. With a window of one message
//!   nothing goes ahead;
//! * never more with the device than the window; one message that is larger than it goes alone;
//! * an end is settled once, under the session's fence, and only for what was given and acked, or rejected, or said to be seen. What
//!   was given is never acked to the broker before the store has its end, or the row is known to be no more;
//! * nothing is passed over that the store holds: it is read to its end, after the lane is there, and anew whenever the lane shows or
//!   may hide something that was not given;
//! * `idle` comes once when everything is given, acked, and the acks are stored; a gap is told once.
//!
//! An idle session is some hundred bytes, and holds no buffer: payloads are never kept, and what is put off is read again.

mod checking;
mod clock;
mod events;
mod held;
mod log;
mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

pub use events::{Action, Ask, Claimed, Delivery, End, Ended, Event, LogPage, Page, Tag};

use self::checking::Checking;
use self::held::{Holding, Place};
use self::reading::Asked;
use crate::protocol::{ClientFrame, Close, GoAway, Hello, How, MAX_DELAY, ServerFrame, Welcome, Window, Withdrawal};

/// What sessions of a process are held to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest window that a client gets, whatever it asks for.
    pub window: Window,
    /// How often something must be heard, unless the client asks for another.
    pub heartbeat: Duration,
    /// How soon a `hello` must come.
    pub hello_within: Duration,
    /// How long a claim may take.
    pub claim_within: Duration,
    /// How long a full window may stand without an ack.
    pub ack_within: Duration,
    /// How long the store may take to answer before it is asked anew.
    pub answer_within: Duration,
    /// How soon a store that could not answer is asked again.
    pub ask_again: Duration,
    /// How often a session asks what became of what it holds, though nobody told it of acks by requests.
    pub check_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: Window::MAX,
            heartbeat: Duration::from_secs(25),
            hello_within: Duration::from_secs(10),
            claim_within: Duration::from_secs(30),
            ack_within: Duration::from_secs(30),
            answer_within: Duration::from_secs(10),
            ask_again: Duration::from_secs(1),
            check_every: Duration::from_secs(10),
        }
    }
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for the `hello`.
    Handshake,
    /// Waits for its device.
    Claiming,
    /// Gives messages.
    Open,
    /// Gives no more, and waits for acks.
    Draining,
    /// Over.
    Closed,
}

/// One device's session.
#[derive(Debug)]
pub struct Session {
    limits: Arc<Limits>,
    phase: Phase,
    fence: i64,
    window: Window,
    heartbeat: Duration,

    /// Everything up to here was given or has ended.
    cursor: u64,
    /// The highest that was given; what may be acked.
    highest: u64,
    /// The store has or had something up to here, which the lane is not trusted with.
    wanted: u64,
    /// The highest that ended before it was given. All up to it had their rows by then: a read that begins later and comes to its end leaves
    /// nothing of them.
    ended: u64,
    /// The store was not read to its end.
    backlog: bool,
    asked: Option<Asked>,
    asks: u32,
    /// The size of what did not fit; 0 for nothing.
    next_size: u32,
    held: Holding,
    /// Deliveries whose rows are yet to be read, in order of `seq`.
    parked: Vec<(u64, Tag)>,
    /// What it is given of the log.
    log: log::Track,
    /// What the client has handled before; until the backlog was read.
    seen: Vec<Uuid>,
    gap_told: u64,
    idle_told: bool,
    /// The lane has brought as much as it brings at one time, and may have more.
    filled: bool,
    /// Nothing is heard but the `hello`: no sign of life is waited for.
    one_way: bool,
    checking: Checking,

    /// When the phase is over.
    deadline: Option<Instant>,
    heard: Instant,
    auth_until: Option<Instant>,
    slow_at: Option<Instant>,
    /// The store is not asked until then.
    rest_until: Option<Instant>,
    /// When the timer rings.
    armed: Option<Instant>,
}

impl Session {
    /// A session of a connection that was just made. Say [`Event::Timer`] at once, or with the first frame: it sets the timer for
    /// the `hello`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        let (heartbeat, deadline) = (limits.heartbeat, Some(now + limits.hello_within));
        Self {
            limits,
            phase: Phase::Handshake,
            fence: 0,
            window: Window::default(),
            heartbeat,
            cursor: 0,
            highest: 0,
            wanted: 0,
            ended: 0,
            backlog: true,
            asked: None,
            asks: 0,
            next_size: 0,
            held: Holding::default(),
            parked: Vec::new(),
            log: log::Track::default(),
            seen: Vec::new(),
            gap_told: 0,
            idle_told: false,
            filled: false,
            one_way: false,
            checking: Checking::default(),
            deadline,
            heard: now,
            auth_until: None,
            slow_at: None,
            rest_until: None,
            armed: None,
        }
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether everything that it knows of is given, acked and stored.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Open && self.idle_told
    }

    /// The last `seq` that was given, or passed over because its row is no more.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The last entry of the log that was given, or passed over.
    pub fn log_cursor(&self) -> u64 {
        self.log.cursor()
    }

    /// Messages and bytes that are with the device.
    pub fn in_flight(&self) -> (usize, u32) {
        (self.held.given(), self.held.bytes())
    }

    /// Bytes that it has on the heap.
    pub fn heap(&self) -> usize {
        let (parked, seen) = (self.parked.capacity() * size_of::<(u64, Tag)>(), self.seen.capacity() * size_of::<Uuid>());
        self.held.heap() + self.log.heap() + parked + seen
    }

    /// Something happened. Does what follows from it, and says what is to be done, in this order.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        if self.phase == Phase::Closed {
            if let Event::Delivery(delivery) = event {
                out.push(Action::GiveBack(vec![delivery.tag]));
            }
            return out;
        }
        match event {
            Event::Frame(frame) => {
                self.heard = now;
                self.said(frame, now, &mut out);
            }
            Event::Malformed(wrong) => {
                let field = Some(wrong.field.to_string()).filter(|field| !field.is_empty());
                self.close(wrong.close, &wrong.to_string(), field, &mut out);
            }
            Event::Claimed(claimed) => self.claimed(claimed, now, &mut out),
            Event::Authorized { until } => self.auth_until = until,
            Event::End { close, detail } => self.close(close, &detail, None, &mut out),
            Event::Delivery(delivery) => self.delivered(delivery, now, &mut out),
            Event::LaneReset => {
                self.held.forget_tags();
                self.parked = Vec::new();
                self.read_anew();
            }
            Event::Page { ask, page } => self.read(ask, page, now, &mut out),
            Event::Unread { ask } => self.unread(ask, now),
            Event::Settled { seqs } => self.settled(&seqs, &mut out),
            Event::Acked => self.checking.want(),
            Event::Checked { ended } => self.checked(&ended, &mut out),
            Event::Withdrawn { seqs, reason } => self.withdraw(&seqs, reason, &mut out),
            Event::Pending { seq } => self.want(seq),
            Event::Logged { entry } => self.log.want(entry),
            Event::LogPage { ask, page } => self.log_read(ask, page, now, &mut out),
            Event::LogUnread { ask } => self.log.unread(ask, &self.limits, now),
            Event::Heard { entry } => self.heard_log(entry),
            Event::Recalled { entry } => self.recalled(entry, &mut out),
            Event::Tell(frame) => self.tell(frame, &mut out),
            Event::Drain { away, within } => self.drain(away, now + within, &mut out),
            Event::Timer => self.rung(now, &mut out),
            Event::Gone => self.over(&mut out),
        }
        self.go_on(now, &mut out);
        out
    }

    /// What follows from how things stand.
    fn go_on(&mut self, now: Instant, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Closed => return,
            Phase::Open => {
                self.ask(now, out);
                self.ask_log(now, out);
                let caught_up = self.asked.is_none() && !self.is_behind() && self.held.is_empty() && self.log.is_idle();
                if caught_up && !self.idle_told && std::mem::take(&mut self.filled) {
                    // It brings more only once the broker has the acks: whether there is more, the store says.
                    self.read_anew();
                    self.ask(now, out);
                } else if caught_up && !self.idle_told {
                    self.idle_told = true;
                    // Nothing is kept for the time when nothing happens.
                    self.parked = Vec::new();
                    out.push(Action::Send(ServerFrame::Idle));
                }
            }
            Phase::Draining if self.held.given() + self.held.ending() == 0 && self.log.is_done() => {
                return self.close(Close::Draining, "", None, out);
            }
            _ => {}
        }
        self.check(now, out);
        self.watch(now);
        self.arm(now, out);
    }

    fn said(&mut self, frame: ClientFrame, now: Instant, out: &mut Vec<Action>) {
        match (self.phase, frame) {
            (_, ClientFrame::Bye) => self.close(Close::Bye, "", None, out),
            (Phase::Handshake, ClientFrame::Hello(hello)) => self.greet(hello, now, out),
            (Phase::Handshake, _) => self.wrong("`hello` must come first", "frame", out),
            (_, ClientFrame::Hello(_)) => self.wrong("`hello` comes once", "frame", out),
            (_, ClientFrame::Ping) => out.push(Action::Send(ServerFrame::Pong)),
            (Phase::Claiming, _) => self.wrong("wait for `welcome`", "frame", out),
            (_, ClientFrame::Ack { up_to, seqs, entry, gap }) => {
                self.ack_gap(gap, out);
                self.ack(up_to.unwrap_or(0), &seqs, out);
                self.ack_log(entry, out);
            }
            (_, ClientFrame::Nack { seq, how, reason }) => self.nack(seq, how, reason, now, out),
            (_, ClientFrame::Read { ids }) if ids.is_empty() => {}
            (_, ClientFrame::Read { ids }) => out.push(Action::Read { ids }),
            (_, ClientFrame::Publish(publish)) => out.push(Action::Publish(publish)),
            (_, ClientFrame::Signal(signal)) => out.push(Action::Signal(signal)),
            (_, ClientFrame::Watch { groups }) => out.push(Action::Watch { groups }),
            (_, ClientFrame::Auth { token }) => out.push(Action::Verify(token)),
        }
    }

    fn greet(&mut self, mut hello: Box<Hello>, now: Instant, out: &mut Vec<Action>) {
        let most = self.limits.window;
        self.window =
            Window { messages: hello.window.messages.clamp(1, most.messages), bytes: hello.window.bytes.clamp(1, most.bytes) };
        self.heartbeat = hello.heartbeat.unwrap_or(self.limits.heartbeat);
        self.seen = std::mem::take(&mut hello.seen);
        self.one_way = hello.one_way;
        hello.window = self.window;
        (self.phase, self.deadline) = (Phase::Claiming, Some(now + self.limits.claim_within));
        out.push(Action::Claim(hello));
    }

    fn claimed(&mut self, claimed: Claimed, now: Instant, out: &mut Vec<Action>) {
        if self.phase != Phase::Claiming {
            return;
        }
        (self.phase, self.deadline, self.heard) = (Phase::Open, None, now);
        (self.fence, self.auth_until) = (claimed.fence, claimed.until);
        self.log.begin(claimed.heard, claimed.logged);
        let (session, time) = (claimed.session, claimed.time);
        let welcome = Welcome { session, window: self.window, heartbeat: self.heartbeat, time };
        out.push(Action::Send(ServerFrame::Welcome(Box::new(welcome))));
    }

    fn ack_gap(&mut self, gap: Option<u64>, out: &mut Vec<Action>) {
        match gap {
            Some(number) if number > self.gap_told => self.wrong(&format!("{number} was not told in this session"), "gap", out),
            Some(number) => out.push(Action::GapTold { fence: self.fence, number }),
            None => {}
        }
    }

    fn ack(&mut self, up_to: u64, seqs: &[u64], out: &mut Vec<Action>) {
        let most = seqs.iter().copied().fold(up_to, u64::max);
        if most > self.highest {
            let what = format!("{most} was not given in this session, {} is the last that was", self.highest);
            return self.wrong(&what, if most == up_to { "up_to" } else { "seqs" }, out);
        }
        let given = self.held.up_to(up_to).filter(|held| held.place == Place::Given);
        let mut acked: Vec<(u64, Uuid)> = given.map(|held| (held.seq, held.id)).collect();
        // Said by its number, also one that was put off.
        let named =
            seqs.iter().filter(|seq| **seq > up_to || self.held.get(**seq).is_some_and(|held| held.place != Place::Given));
        acked.extend(
            named
                .filter_map(|seq| self.held.get(*seq))
                .filter(|held| held.place != Place::Ending)
                .map(|held| (held.seq, held.id)),
        );
        acked.sort_unstable_by_key(|(seq, _)| *seq);
        acked.dedup();
        self.end(acked.into_iter().map(|(seq, id)| End { seq, id, ended: Ended::Delivered }).collect(), out);
    }

    fn nack(&mut self, seq: u64, how: How, reason: Option<String>, now: Instant, out: &mut Vec<Action>) {
        if seq > self.highest {
            let what = format!("{seq} was not given in this session, {} is the last that was", self.highest);
            return self.wrong(&what, "seq", out);
        }
        let Some(held) = self.held.get(seq).filter(|held| held.place != Place::Ending) else { return };
        let id = held.id;
        match how {
            How::Reject => self.end(vec![End { seq, id, ended: Ended::Rejected { reason } }], out),
            How::Later(delay) => {
                self.held.turn(seq, Place::Off(now + delay.min(MAX_DELAY)));
                self.slow_at = None;
            }
        }
    }

    /// The device is done with these.
    fn end(&mut self, ends: Vec<End>, out: &mut Vec<Action>) {
        if !ends.is_empty() {
            self.slow_at = None;
            ends.iter().for_each(|end| self.held.turn(end.seq, Place::Ending));
            self.settle(ends, out);
        }
    }

    fn settle(&self, ends: Vec<End>, out: &mut Vec<Action>) {
        if !ends.is_empty() {
            out.push(Action::Settle { fence: self.fence, ends });
        }
    }

    /// The store has their ends: the broker may forget them.
    fn settled(&mut self, seqs: &[u64], out: &mut Vec<Action>) {
        for seq in seqs {
            if self.held.get(*seq).is_some_and(|held| held.place == Place::Ending) {
                self.free(*seq, out);
            }
        }
    }

    /// Rows ended without the device. What it has is taken back; what it has not is read, and not taken from the lane.
    fn withdraw(&mut self, seqs: &[u64], reason: Withdrawal, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Handshake | Phase::Claiming) {
            // The claim knows of it.
            return;
        }
        let mut ids = Vec::new();
        // These may have left a gap, which only the store tells.
        if matches!(reason, Withdrawal::Expired | Withdrawal::Dropped) {
            self.read_anew();
        }
        for seq in seqs {
            match self.held.get(*seq).map(|held| (held.place, held.id)) {
                Some((Place::Ending, _)) => {}
                Some((place, id)) => {
                    if place == Place::Given {
                        ids.push(id);
                    }
                    self.free(*seq, out);
                }
                None => {
                    self.want(*seq);
                    self.ended = self.ended.max(*seq);
                }
            }
        }
        if !ids.is_empty() {
            out.push(Action::Send(ServerFrame::Cancel { ids, reason }));
        }
    }

    fn tell(&self, frame: ServerFrame, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Handshake | Phase::Claiming) {
            out.push(Action::Send(frame));
        }
    }

    fn drain(&mut self, away: GoAway, by: Instant, out: &mut Vec<Action>) {
        if self.phase == Phase::Draining {
            return;
        }
        out.push(Action::Send(ServerFrame::GoAway(away)));
        match self.phase {
            Phase::Open => (self.phase, self.deadline, self.asked) = (Phase::Draining, Some(by), None),
            _ => self.close(Close::Draining, "", None, out),
        }
    }

    fn wrong(&mut self, what: &str, field: &str, out: &mut Vec<Action>) {
        self.close(Close::ProtocolError, &format!("`{field}`: {what}"), Some(field.to_owned()), out);
    }

    /// Says why, gives back what it holds, and is over.
    fn close(&mut self, close: Close, detail: &str, field: Option<String>, out: &mut Vec<Action>) {
        if !detail.is_empty() {
            out.push(Action::Send(ServerFrame::error(close, detail, field)));
        }
        self.over(out);
        out.push(Action::Close(close));
    }

    /// Whatever is not settled goes back, in order. An end that is being written may still be: then a copy comes, and is forgotten.
    fn over(&mut self, out: &mut Vec<Action>) {
        let held = self.held.take().into_iter().filter_map(|held| Some((held.seq, held.tag?)));
        let mut back: Vec<(u64, Tag)> = held.chain(std::mem::take(&mut self.parked)).collect();
        back.sort_unstable();
        if !back.is_empty() {
            out.push(Action::GiveBack(back.into_iter().map(|(_, tag)| tag).collect()));
        }
        (self.phase, self.seen) = (Phase::Closed, Vec::new());
    }
}
