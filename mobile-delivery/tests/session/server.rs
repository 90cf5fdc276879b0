//! A session with what its driver would keep, and what is expected of it after each step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use mobile_delivery::protocol::{Close, ServerFrame, Window};
use mobile_delivery::session::{Action, Ask, End, Event, Limits, Page, Session, Tag};

pub struct Server {
    pub session: Session,
    pub fence: i64,
    pub window: Window,
    pub wake: Option<Instant>,
    pub closed: Option<Close>,
    /// On the wire to the device.
    pub frames: VecDeque<ServerFrame>,
    /// Read already, and not told yet; later answers may be told first, or twice.
    pub answers: Vec<(u32, Page)>,
    pub asks: VecDeque<Ask>,
    pub settles: VecDeque<(i64, Vec<End>)>,
    pub gaps_told: VecDeque<(i64, u64)>,
    pub checks: VecDeque<Vec<u64>>,
    pub lane: Vec<LaneWord>,
    pub claims: usize,
    /// What the session was told that the store has.
    pub known: u64,
    given: BTreeMap<u64, u32>,
    first_given: u64,
    off: BTreeSet<u64>,
    /// Rows that ended without the device: a place that one had is free once the session comes to know.
    pub ended: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    gaps: BTreeSet<u64>,
    idle: bool,
}

/// What the lane is told.
#[derive(Debug)]
pub enum LaneWord {
    Ack(Vec<Tag>),
    GiveBack(Vec<Tag>),
}

impl Server {
    pub fn new(limits: &Arc<Limits>, now: Instant) -> Self {
        Self {
            session: Session::new(limits.clone(), now),
            fence: 0,
            window: Window::default(),
            wake: None,
            closed: None,
            frames: VecDeque::new(),
            answers: Vec::new(),
            asks: VecDeque::new(),
            settles: VecDeque::new(),
            gaps_told: VecDeque::new(),
            checks: VecDeque::new(),
            lane: Vec::new(),
            claims: 0,
            known: 0,
            given: BTreeMap::new(),
            first_given: 0,
            off: BTreeSet::new(),
            ended: BTreeSet::new(),
            settled: BTreeSet::new(),
            gaps: BTreeSet::new(),
            idle: false,
        }
    }

    /// What the device was given and has not answered, as the server knows it.
    pub fn given(&self) -> BTreeSet<u64> {
        self.given.keys().copied().collect()
    }

    /// The device put one off, and the session was told.
    pub fn put_off(&mut self, seq: u64) {
        if self.given.remove(&seq).is_some() {
            self.off.insert(seq);
        }
    }

    /// The session comes to know that these were acked by a request.
    fn come_to_know(&mut self, acked: &[u64]) {
        for seq in acked {
            self.given.remove(seq);
            self.off.remove(seq);
        }
    }

    pub fn on(&mut self, event: Event, seen: &BTreeSet<u64>, now: Instant) {
        let acked = match &event {
            Event::Frame(mobile_delivery::protocol::ClientFrame::Ack { up_to, seqs, .. }) => {
                Some((up_to.unwrap_or(0), seqs.clone()))
            }
            Event::Frame(mobile_delivery::protocol::ClientFrame::Nack { seq, .. }) => Some((0, vec![*seq])),
            Event::Checked { ended } => {
                self.come_to_know(ended);
                None
            }
            _ => None,
        };
        for action in self.session.on(event, now) {
            assert!(self.closed.is_none(), "{action:?} after the close");
            match action {
                Action::Claim(_) => self.claims += 1,
                Action::Send(frame) => self.sends(frame),
                Action::Ask(ask) => {
                    assert!(ask.messages > 0, "{ask:?}");
                    self.asks.push_back(ask);
                }
                Action::Settle { fence, ends } => {
                    assert_eq!(fence, self.fence);
                    for end in &ends {
                        let was_said = |(up_to, seqs): &(u64, Vec<u64>)| end.seq <= *up_to || seqs.contains(&end.seq);
                        let was_given = self.given.remove(&end.seq).is_some() || self.off.remove(&end.seq);
                        let as_acked = acked.as_ref().is_some_and(was_said) && was_given;
                        assert!(as_acked || seen.contains(&end.seq), "{end:?} was not acked: {acked:?}");
                        assert!(self.settled.insert(end.seq), "{end:?} is settled twice");
                    }
                    self.settles.push_back((fence, ends));
                }
                Action::GapTold { fence, number } => self.gaps_told.push_back((fence, number)),
                Action::Check(held) => self.checks.push_back(held.into_iter().map(|(seq, _)| seq).collect()),
                Action::AckLane(tags) => self.lane.push(LaneWord::Ack(tags)),
                Action::GiveBack(tags) => self.lane.push(LaneWord::GiveBack(tags)),
                Action::Wake(at) => self.wake = Some(at),
                Action::Close(close) => self.closed = Some(close),
                Action::Read { .. } | Action::Verify(_) => {}
                Action::Publish(_) | Action::Signal(_) | Action::Watch { .. } => panic!("nobody is in a room"),
                Action::AskLog(_) | Action::Hear { .. } | Action::CheckLog => panic!("nothing was logged"),
            }
        }
        let (count, bytes) = (self.given.len(), self.given.values().sum::<u32>());
        if self.session.phase() != mobile_delivery::session::Phase::Closed {
            assert_eq!(self.session.in_flight(), (count, bytes));
        }
        let places = count + self.off.difference(&self.ended).count();
        assert!(places <= usize::from(self.window.messages), "{places} messages in a window of {:?}", self.window);
        assert!(bytes <= self.window.bytes || count == 1, "{bytes} bytes in a window of {:?}", self.window);
    }

    fn sends(&mut self, frame: ServerFrame) {
        match &frame {
            ServerFrame::Welcome(welcome) => self.window = welcome.window,
            ServerFrame::Deliver(message) => {
                let seq = message.seq;
                if self.off.remove(&seq) {
                    assert!(message.dup, "{seq} is offered again, and does not say so");
                } else {
                    assert!(seq > self.first_given, "{seq} is given after {}", self.first_given);
                    self.first_given = seq;
                }
                assert!(!self.settled.contains(&seq), "{seq} is given after its end");
                self.given.insert(seq, u32::try_from(message.size()).unwrap());
                self.idle = false;
            }
            ServerFrame::Gap(gap) => {
                assert!(self.gaps.insert(gap.number), "{gap:?} is told twice");
                self.idle = false;
            }
            ServerFrame::Idle => {
                assert!(!self.idle, "idle twice");
                let off = self.off.difference(&self.ended).count();
                assert!(
                    self.given.is_empty() && off == 0 && self.settles.is_empty(),
                    "idle with {:?}, {:?}, {:?}",
                    self.given,
                    self.off,
                    self.settles
                );
                self.idle = true;
            }
            ServerFrame::Cancel { ids, .. } => {
                let taken = |seq: &u64| ids.contains(&super::store::id(*seq));
                self.given.retain(|seq, _| !taken(seq));
            }
            _ => {}
        }
        self.frames.push_back(frame);
    }
}
