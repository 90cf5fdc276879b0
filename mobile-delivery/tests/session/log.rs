//! Lives of a device that is in groups: whatever is logged for it comes, in order, and none of it is passed over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mobile_delivery::protocol::{ClientFrame, Hello, Logged, Message, ServerFrame, Window};
use mobile_delivery::session::{Action, Ask, Claimed, Event, Limits, LogPage, Page, Session};
use proptest::prelude::*;
use uuid::Uuid;

use crate::store::{id, message};

/// An entry of that number; its id is that of the row of the number.
pub fn entry(number: u64, size: usize) -> Message {
    let logged = Some(Box::new(Logged { entry: number, group: Some("room".to_owned()), from: None }));
    Message { seq: 0, logged, ..message(number, size) }
}

/// The log of a tenant, and one device of it.
struct World {
    /// Whether each is for the device, from 1.
    log: Vec<bool>,
    withdrawn: BTreeSet<u64>,
    /// What the store has of the device.
    heard: u64,
    fence: i64,
    session: Session,
    window: Window,
    asks: VecDeque<Ask>,
    answers: Vec<(u32, LogPage)>,
    hears: VecDeque<(i64, u64)>,
    wire: VecDeque<ServerFrame>,
    /// What the device has in this session and did not ack; and what it has ever had, in order.
    open: BTreeSet<u64>,
    first: Vec<u64>,
    had: BTreeMap<u64, u32>,
    wake: Option<Instant>,
    limits: Arc<Limits>,
    now: Instant,
    /// The store has been told that the device has these.
    told: u64,
    idles: u32,
}

impl World {
    fn new(messages: u16) -> Self {
        let (limits, now) = (Arc::new(Limits::default()), Instant::now());
        let session = Session::new(limits.clone(), now);
        let window = Window { messages, bytes: 4096 };
        let mut world = Self {
            log: Vec::new(),
            withdrawn: BTreeSet::new(),
            heard: 0,
            fence: 0,
            session,
            window,
            asks: VecDeque::new(),
            answers: Vec::new(),
            hears: VecDeque::new(),
            wire: VecDeque::new(),
            open: BTreeSet::new(),
            first: Vec::new(),
            had: BTreeMap::new(),
            wake: None,
            limits,
            now,
            told: 0,
            idles: 0,
        };
        world.connect();
        world
    }

    fn is_there(&self, number: u64) -> bool {
        self.log[usize::try_from(number).unwrap() - 1] && !self.withdrawn.contains(&number)
    }

    fn head(&self) -> u64 {
        self.log.len() as u64
    }

    fn unheard(&self) -> Vec<u64> {
        (self.heard + 1..=self.head()).filter(|number| self.is_there(*number)).collect()
    }

    fn connect(&mut self) {
        self.session = Session::new(self.limits.clone(), self.now);
        (self.asks, self.answers, self.hears, self.wire) = Default::default();
        self.open.clear();
        self.fence += 1;
        let hello = Hello {
            device: "phone".to_owned(),
            token: None,
            window: self.window,
            heartbeat: Some(Duration::from_secs(600)),
            seen: Vec::new(),
            agent: None,
            one_way: false,
        };
        self.tell(Event::Frame(ClientFrame::Hello(Box::new(hello))));
        let (heard, logged) = (self.heard, self.unheard().last().copied());
        let (session, time) = (Uuid::nil(), Timestamp::UNIX_EPOCH);
        self.tell(Event::Claimed(Claimed { fence: self.fence, session, heard, logged, until: None, time }));
    }

    fn tell(&mut self, event: Event) {
        for action in self.session.on(event, self.now) {
            match action {
                Action::AskLog(ask) => {
                    assert!(ask.messages > 0, "{ask:?}");
                    self.asks.push_back(ask);
                }
                Action::Hear { entry } => {
                    let missing =
                        (self.heard + 1..=entry).find(|number| self.is_there(*number) && !self.had.contains_key(number));
                    assert_eq!(missing, None, "{entry} is said to be heard");
                    assert!(entry > self.told);
                    self.told = entry;
                    self.hears.push_back((self.fence, entry));
                }
                Action::Send(ServerFrame::Idle) => self.idles += 1,
                Action::Send(frame) => self.wire.push_back(frame),
                Action::Ask(ask) => {
                    let again = self.session.on(Event::Page { ask: ask.number, page: Page::default() }, self.now);
                    self.idles += again.iter().filter(|action| matches!(action, Action::Send(ServerFrame::Idle))).count() as u32;
                }
                Action::Wake(at) => self.wake = Some(at),
                Action::Close(close) => panic!("{close:?}"),
                _ => {}
            }
        }
        // A place that was withdrawn is free before the device knows.
        let is_with = |number: &&u64| !self.withdrawn.contains(number);
        let on_wire = self.wire.iter().filter_map(|frame| match frame {
            ServerFrame::Deliver(message) => message.logged.as_ref().map(|logged| &logged.entry),
            _ => None,
        });
        let with_device = self.open.iter().chain(on_wire).filter(is_with).count();
        assert!(with_device <= usize::from(self.window.messages), "{with_device} in a window of {:?}", self.window);
    }

    fn step(&mut self, what: u8, salt: u64) {
        match what % 16 {
            0..=3 => {
                self.log.push(!salt.is_multiple_of(3));
                // Who is told of what is not for it looks, and finds nothing.
                if !salt.is_multiple_of(5) {
                    self.tell(Event::Logged { entry: self.head() });
                }
            }
            4..=6 => self.store_reads(salt),
            7 | 8 => self.store_answers(salt),
            9 | 10 => self.hears(),
            11 | 12 => self.acks(salt),
            13 => self.stores(),
            14 if salt.is_multiple_of(8) => {
                self.told = self.heard;
                self.connect();
                self.told = self.heard;
            }
            15 if salt.is_multiple_of(6) && self.head() > 0 => {
                let number = 1 + salt % self.head();
                if self.withdrawn.insert(number) {
                    self.tell(Event::Recalled { entry: number });
                }
            }
            _ => {
                self.now += Duration::from_millis(salt % 3000);
                if self.wake.take_if(|at| *at <= self.now).is_some() {
                    self.tell(Event::Timer);
                }
            }
        }
    }

    fn store_reads(&mut self, salt: u64) {
        let Some(ask) = self.asks.pop_front() else { return };
        match salt % 8 {
            0 => self.tell(Event::LogUnread { ask: ask.number }),
            1 => {}
            _ => {
                let mut page = LogPage { through: self.head(), ..LogPage::default() };
                for number in ask.after + 1..=self.head() {
                    if !self.is_there(number) {
                        continue;
                    }
                    if page.messages.len() == usize::from(ask.messages) {
                        (page.more, page.through) = (true, page.messages.last().unwrap().logged.as_ref().unwrap().entry);
                        break;
                    }
                    page.messages.push(entry(number, 700));
                }
                self.answers.push((ask.number, page));
            }
        }
    }

    fn store_answers(&mut self, salt: u64) {
        if self.answers.is_empty() {
            return;
        }
        let at = usize::try_from(salt).unwrap() % self.answers.len();
        let (ask, page) = if salt.is_multiple_of(8) { self.answers[at].clone() } else { self.answers.remove(at) };
        self.tell(Event::LogPage { ask, page });
    }

    fn hears(&mut self) {
        match self.wire.pop_front() {
            Some(ServerFrame::Deliver(message)) => {
                let number = message.logged.unwrap().entry;
                let times = self.had.entry(number).or_default();
                *times += 1;
                if *times == 1 {
                    self.first.push(number);
                }
                self.open.insert(number);
            }
            Some(ServerFrame::Cancel { ids, .. }) => self.open.retain(|number| !ids.contains(&id(*number))),
            _ => {}
        }
    }

    fn acks(&mut self, salt: u64) {
        let Some(number) = self.open.iter().copied().nth(usize::try_from(salt).unwrap() % self.open.len().max(1)) else { return };
        self.open.retain(|open| *open > number);
        self.tell(Event::Frame(ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry: Some(number), gap: None }));
    }

    fn stores(&mut self) {
        if let Some((fence, entry)) = self.hears.pop_front() {
            assert_eq!(fence, self.fence);
            self.heard = self.heard.max(entry);
            self.tell(Event::Heard { entry });
        }
    }

    fn settle_down(&mut self) {
        self.log.push(true);
        self.tell(Event::Logged { entry: self.head() });
        for _ in 0..50 + 8 * self.log.len() {
            self.store_reads(2);
            self.store_answers(1);
            while !self.wire.is_empty() {
                self.hears();
            }
            if let Some(last) = self.open.last().copied() {
                self.open.clear();
                self.tell(Event::Frame(ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry: Some(last), gap: None }));
            }
            self.stores();
            if self.session.is_idle() && self.unheard().is_empty() {
                break;
            }
            self.now += Duration::from_secs(1);
            self.tell(Event::Frame(ClientFrame::Ping));
            self.tell(Event::Timer);
        }
        let left = self.unheard();
        assert!(left.is_empty(), "lost or stuck: {left:?}, {:?}", self.session);
        let missed: Vec<u64> =
            (1..=self.head()).filter(|number| self.is_there(*number) && !self.had.contains_key(number)).collect();
        assert!(missed.is_empty(), "never came: {missed:?}");
        assert!(self.first.is_sorted(), "out of order: {:?}", self.first);
        assert!(self.idles > 0 && self.session.heap() == 0, "{:?}", self.session);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_logged_for_a_device_comes_in_order_and_is_never_passed_over(
        window in 1..8u16,
        steps in proptest::collection::vec((any::<u8>(), any::<u64>()), 1..300),
    ) {
        let mut world = World::new(window);
        for (what, salt) in steps {
            world.step(what, salt);
        }
        world.settle_down();
    }
}
