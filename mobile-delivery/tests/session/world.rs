//! A device, its session, its rows and its queue; steps that a life is made of; and what must hold at its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mobile_delivery::protocol::{ClientFrame, Close, GoAway, How, ServerFrame, Window, Withdrawal};
use mobile_delivery::session::{Claimed, End, Ended, Event, Limits, Phase};
use uuid::Uuid;

use super::device::Device;
use super::lane::Lane;
use super::server::{LaneWord, Server};
use super::store::{Row, Store, id};

pub struct World {
    pub store: Store,
    pub lane: Lane,
    pub device: Device,
    pub server: Server,
    /// A session whose place was taken, or whose process hangs: what it still has under way reaches the store late.
    ghost: Option<Server>,
    limits: Arc<Limits>,
    window: Window,
    /// It is a stream: the device acks by requests alone.
    one_way: bool,
    /// Rows that the `hello` of this session named.
    seen: BTreeSet<u64>,
    now: Instant,
    pub connects: u64,
    pub redelivered: u64,
    pub idles: u64,
}

impl World {
    pub fn new(window: Window, one_way: bool) -> Self {
        let (limits, now) = (Arc::new(Limits::default()), Instant::now());
        let server = Server::new(&limits, now);
        let mut world = Self {
            store: Store::default(),
            lane: Lane::default(),
            device: Device::default(),
            server,
            ghost: None,
            limits,
            window,
            one_way,
            seen: BTreeSet::new(),
            now,
            connects: 0,
            redelivered: 0,
            idles: 0,
        };
        world.connect(true);
        world
    }

    /// One thing happens. `what` says which, `salt` how.
    pub fn step(&mut self, what: u8, salt: u64) {
        match what % 32 {
            0..=3 => _ = self.store.send(usize::try_from(salt % 3000).unwrap() + usize::from(salt.is_multiple_of(40)) * 5000),
            4..=6 => self.lane.publish(&self.store, !salt.is_multiple_of(10)),
            7..=10 => self.deliver(salt.is_multiple_of(2)),
            11..=13 => self.store_reads(salt),
            14..=16 => self.store_answers(salt),
            17..=19 => self.store_settles(salt.is_multiple_of(20)),
            20..=22 => self.device_hears(),
            23 | 24 => self.device_acks(salt),
            25 => self.store_checks(salt),
            26 => self.time_passes(salt),
            27 => self.row_ends(salt),
            28 => self.ghost_speaks(),
            29 if salt.is_multiple_of(3) => self.trouble(salt >> 8),
            30 if salt.is_multiple_of(4) => self.tell(Event::Pending { seq: self.store.last().saturating_sub(salt >> 8 & 7) }),
            _ => self.device_hears(),
        }
    }

    pub fn tell(&mut self, event: Event) {
        let before = self.server.frames.len();
        self.server.on(event, &self.seen, self.now);
        self.lane_hears();
        for frame in self.server.frames.iter().skip(before) {
            match frame {
                ServerFrame::Deliver(message) => {
                    assert_ne!(
                        self.store.row(message.seq),
                        Row::Delivered,
                        "{} is given after the store had its end",
                        message.seq
                    );
                    self.redelivered += u64::from(self.device.handled.contains_key(&message.id));
                }
                ServerFrame::Idle => {
                    self.idles += 1;
                    let left: Vec<u64> = self.store.pending().filter(|seq| *seq <= self.server.known).collect();
                    assert!(left.is_empty(), "idle, and {left:?} were known to wait");
                }
                _ => {}
            }
        }
        if self.server.closed.is_some() {
            self.leave(false);
        }
    }

    fn lane_hears(&mut self) {
        for word in std::mem::take(&mut self.server.lane) {
            match word {
                LaneWord::GiveBack(tags) => self.lane.give_back(&tags),
                LaneWord::Ack(tags) => {
                    for seq in tags.into_iter().map(|tag| self.lane.ack(tag)) {
                        let is_copy = seq <= self.server.session.cursor();
                        assert!(
                            is_copy || self.store.row(seq) != Row::Pending,
                            "{seq} is acked to the broker, and was not given"
                        );
                    }
                }
            }
        }
    }

    /// The device comes, and takes the place of whoever has it.
    pub fn connect(&mut self, names_seen: bool) {
        self.connects += 1;
        self.server = Server::new(&self.limits, self.now);
        self.seen = if names_seen { self.device.handled.values().copied().collect() } else { BTreeSet::new() };
        let hello = self.device.hello(self.window, names_seen, self.one_way);
        self.tell(Event::Timer);
        self.tell(Event::Frame(hello));
        assert_eq!(self.server.claims, 1);
        self.store.fence += 1;
        self.server.fence = self.store.fence;
        let claimed = Claimed {
            fence: self.store.fence,
            session: Uuid::nil(),
            heard: 0,
            logged: None,
            until: None,
            time: Timestamp::UNIX_EPOCH,
        };
        self.tell(Event::Claimed(claimed));
    }

    /// The session ends. What it had under way may reach the store later, or never.
    fn leave(&mut self, hangs: bool) {
        // Frames on the wire may arrive.
        if hangs {
            while let Some(frame) = self.server.frames.pop_front() {
                self.device.hears(&frame);
            }
        }
        let mut gone = std::mem::replace(&mut self.server, Server::new(&self.limits, self.now));
        self.lane.drop_consumer();
        gone.lane.clear();
        self.ghost = Some(gone);
        self.connect(hangs);
    }

    fn deliver(&mut self, checks: bool) {
        if self.server.session.phase() == Phase::Open
            && let Some(delivery) = self.lane.deliver(self.window.messages.into(), &self.store, checks)
        {
            if delivery.message.is_some() {
                self.server.known = self.server.known.max(delivery.seq);
            }
            self.tell(Event::Delivery(delivery));
        }
    }

    fn store_reads(&mut self, salt: u64) {
        let Some(ask) = self.server.asks.pop_front() else { return };
        match salt % 16 {
            0 => self.tell(Event::Unread { ask: ask.number }),
            // Never answered: asked anew once its time is over.
            1 => {}
            _ => self.server.answers.push((ask.number, self.store.read(ask))),
        }
    }

    /// Any of the answers, old ones too, and now and then one twice.
    fn store_answers(&mut self, salt: u64) {
        let answers = &mut self.server.answers;
        if answers.is_empty() {
            return;
        }
        let at = usize::try_from(salt >> 4).unwrap() % answers.len();
        let (ask, page) = if salt.is_multiple_of(8) { answers[at].clone() } else { answers.remove(at) };
        let reached = page.messages.iter().map(|message| message.seq).max().unwrap_or(0);
        self.server.known = self.server.known.max(reached);
        self.tell(Event::Page { ask, page });
    }

    /// The oldest end is written; its answer may be lost, and it is written again then.
    fn store_settles(&mut self, unheard: bool) {
        if let Some((fence, seq)) = self.server.gaps_told.pop_front() {
            self.store.gap_told(fence, seq);
        }
        let Some((fence, ends)) = self.server.settles.front() else { return };
        assert!(self.store.settle(*fence, ends), "the newest session is refused");
        if !unheard {
            let seqs: Vec<u64> = ends.iter().map(|end| end.seq).collect();
            self.server.settles.pop_front();
            self.tell(Event::Settled { seqs: seqs.clone() });
            self.tell(Event::Settled { seqs });
        }
    }

    fn device_hears(&mut self) {
        if let Some(frame) = self.server.frames.pop_front() {
            self.device.hears(&frame);
        }
    }

    fn device_acks(&mut self, salt: u64) {
        if self.one_way || salt >> 20 & 7 == 0 {
            return self.device_acks_by_request(salt);
        }
        if let Some(frame) = self.device.acks_gap() {
            self.tell(Event::Frame(frame));
        }
        let Some(frame) = self.device.acks(salt) else { return };
        if let ClientFrame::Nack { seq, how: How::Later(_), .. } = &frame {
            self.server.put_off(*seq);
        }
        self.tell(Event::Frame(frame));
    }

    /// At any process: the store has it before the session hears of it, if it ever does.
    fn device_acks_by_request(&mut self, salt: u64) {
        // One of its way, or all up to one; nothing else can be said so.
        let salt = salt & !7 | if salt & 1 == 0 { 1 } else { 6 };
        let gap = self.device.acks_gap();
        for frame in gap.into_iter().chain(self.device.acks(salt)) {
            let ClientFrame::Ack { up_to, seqs, entry: None, gap } = frame else { unreachable!() };
            gap.iter().for_each(|number| self.store.gap_told(self.store.fence, *number));
            let said = |seq: &u64| up_to.is_some_and(|up_to| *seq <= up_to) || seqs.contains(seq);
            let ends = self.server.given().into_iter().filter(said);
            let ends: Vec<End> = ends.map(|seq| End { seq, id: id(seq), ended: Ended::Delivered }).collect();
            assert!(self.store.settle(self.store.fence, &ends));
            if salt >> 30 & 3 > 0 {
                self.tell(Event::Acked);
            }
        }
    }

    /// A look at what became of what the session holds; its answer may never come.
    fn store_checks(&mut self, salt: u64) {
        let Some(held) = self.server.checks.pop_front() else { return };
        if salt.is_multiple_of(8) {
            return;
        }
        let of = |rows: &[Row]| held.iter().copied().filter(|seq| rows.contains(&self.store.row(*seq))).collect::<Vec<u64>>();
        let (acked, withdrawn) = (of(&[Row::Delivered, Row::Rejected]), of(&[Row::Withdrawn, Row::Dropped]));
        if !withdrawn.is_empty() {
            self.tell(Event::Withdrawn { seqs: withdrawn, reason: Withdrawal::Dropped });
        }
        self.tell(Event::Checked { ended: acked });
    }

    fn time_passes(&mut self, salt: u64) {
        self.now += Duration::from_millis(salt % 2000);
        self.ring();
    }

    fn ring(&mut self) {
        if self.server.wake.is_some_and(|at| at <= self.now) {
            self.server.wake = None;
            self.tell(Event::Timer);
        }
    }

    /// Cancelled, expired or thrown away; the session may hear of it, and need not.
    fn row_ends(&mut self, salt: u64) {
        let pending: Vec<u64> = self.store.pending().collect();
        let Some(seq) = pending.get(usize::try_from(salt >> 8).unwrap() % pending.len().max(1)).copied() else { return };
        if self.server.given().contains(&seq) && salt.is_multiple_of(2) {
            return;
        }
        let dropped = salt.is_multiple_of(5);
        self.server.ended.insert(seq);
        self.store.end(seq, if dropped { Row::Dropped } else { Row::Withdrawn });
        if salt & 0x40 == 0 {
            let reason = if dropped { Withdrawal::Dropped } else { Withdrawal::Cancelled };
            self.tell(Event::Withdrawn { seqs: vec![seq], reason });
        }
    }

    /// What an older session still had to say to the store.
    fn ghost_speaks(&mut self) {
        let Some(mut ghost) = self.ghost.take() else { return };
        for (fence, ends) in ghost.settles.drain(..) {
            assert!(!self.store.settle(fence, &ends), "an older fence is not refused");
        }
        let seqs: Vec<u64> = ghost.given().into_iter().collect();
        for event in [Event::Settled { seqs }, Event::Timer, Event::Gone] {
            if ghost.closed.is_some() {
                assert_eq!(ghost.session.on(event, self.now), []);
            }
        }
    }

    fn trouble(&mut self, salt: u64) {
        let displaced = || Event::End { close: Close::Displaced, detail: "a newer session has this device".to_owned() };
        match salt % 10 {
            // The process dies: nothing is given back, and some of what it had under way was done.
            0 | 1 => {
                if let Some((fence, ends)) = self.server.settles.pop_front() {
                    self.store.settle(fence, &ends);
                }
                self.leave(salt.is_multiple_of(4));
            }
            2 => self.leave(true),
            3 => {
                self.tell(Event::Gone);
                self.leave(salt.is_multiple_of(4));
            }
            4 => self.tell(displaced()),
            5 => {
                let away = GoAway { after: Duration::ZERO, spread: Duration::from_secs(1) };
                self.tell(Event::Drain { away, within: Duration::from_secs(5) });
            }
            6 | 7 => {
                self.lane.drop_consumer();
                self.tell(Event::LaneReset);
            }
            8 => {
                self.lane.lose();
                self.tell(Event::LaneReset);
            }
            _ => {
                self.lane.lose();
                self.leave(false);
            }
        }
    }

    /// Everything works from now on: all that waits must come to its end.
    pub fn settle_down(&mut self) {
        self.calm_down();
        if self.store.gap.is_some() {
            // The session did not hear of it; the next one does.
            self.leave(true);
            self.calm_down();
        }
        self.all_is_well();
    }

    fn calm_down(&mut self) {
        self.store.send(10);
        for _ in 0..4 * self.store.rows.len() + 50 {
            let busy = self.store.pending().next().is_some() || !self.lane.is_done(&self.store);
            if !busy && self.server.session.is_idle() && self.server.gaps_told.is_empty() {
                break;
            }
            while !self.server.frames.is_empty() {
                self.device_hears();
            }
            if self.one_way {
                while !self.device.open.is_empty() {
                    self.device_acks_by_request(0);
                }
                self.device_acks_by_request(0);
            } else {
                if let Some(frame) = self.device.acks_gap() {
                    self.tell(Event::Frame(frame));
                }
                let held = self.device.open.iter().copied().collect::<Vec<_>>();
                if !held.is_empty() {
                    self.device.open.clear();
                    self.tell(Event::Frame(ClientFrame::Ack { up_to: None, seqs: held, entry: None, gap: None }));
                }
                self.tell(Event::Frame(ClientFrame::Ping));
            }
            while !self.server.settles.is_empty() {
                self.store_settles(false);
            }
            while let Some((fence, seq)) = self.server.gaps_told.pop_front() {
                self.store.gap_told(fence, seq);
            }
            self.store_checks(1);
            self.lane.publish(&self.store, true);
            self.deliver(true);
            while let Some(ask) = self.server.asks.pop_front() {
                let page = self.store.read(ask);
                self.tell(Event::Page { ask: ask.number, page });
            }
            if let Some(at) = self.server.wake {
                self.now = self.now.max(at.min(self.now + Duration::from_secs(5)));
                self.ring();
            }
        }
    }

    fn all_is_well(&self) {
        assert!(self.lane.is_done(&self.store), "deliveries are left");
        let left: Vec<u64> = self.store.pending().collect();
        assert!(left.is_empty(), "lost or stuck: {left:?}, {:?}", self.server.session);
        for (seq, (message, row)) in &self.store.rows {
            match row {
                Row::Delivered => assert!(self.device.handled.contains_key(&message.id), "{seq} is delivered, and never came"),
                Row::Rejected => assert!(self.device.rejected.contains(seq), "{seq} was not rejected by the device"),
                Row::Dropped => {
                    let number = 1 + self.store.dropped.iter().position(|dropped| dropped == seq).unwrap() as u64;
                    assert!(self.device.gaps.iter().any(|gap| *gap >= number), "{seq} was dropped, and no gap was told");
                }
                Row::Withdrawn => {}
                Row::Pending => unreachable!(),
            }
            assert_eq!(message.id, id(*seq));
        }
        assert!(self.server.session.is_idle(), "everything is done, and it is not idle: {:?}", self.server.session);
        assert_eq!(self.server.session.heap(), 0, "an idle session holds nothing");
    }
}
