//! An app on a phone: handles each id once, and acks as it likes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mobile_delivery::protocol::{ClientFrame, Hello, How, MAX_LIST, Message, ServerFrame, Window};
use uuid::Uuid;

#[derive(Default)]
pub struct Device {
    /// Kept over reconnects, as an app does: ids, and by which seq each came.
    pub handled: BTreeMap<Uuid, u64>,
    pub rejected: BTreeSet<u64>,
    pub gaps: Vec<u64>,
    /// Handled in order of arrival, not known to be acked; what a `hello` names as seen.
    recent: VecDeque<Uuid>,
    /// Given in this session and not answered.
    pub open: BTreeSet<u64>,
    pub highest: u64,
    /// The highest gap that was told in this session.
    gap: Option<u64>,
}

impl Device {
    pub fn hello(&mut self, window: Window, names_seen: bool, one_way: bool) -> ClientFrame {
        self.open.clear();
        (self.highest, self.gap) = (0, None);
        ClientFrame::Hello(Box::new(Hello {
            device: "phone".to_owned(),
            token: None,
            window,
            heartbeat: Some(Duration::from_secs(600)),
            seen: if names_seen { self.recent.iter().copied().collect() } else { Vec::new() },
            agent: None,
            one_way,
        }))
    }

    pub fn hears(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Deliver(message) => self.gets(message),
            ServerFrame::Gap(gap) => {
                self.gaps.push(gap.number);
                self.gap = Some(gap.number);
            }
            ServerFrame::Cancel { ids, .. } => {
                let taken: BTreeSet<u64> = ids.iter().filter_map(|id| self.handled.get(id).copied()).collect();
                self.open.retain(|seq| !taken.contains(seq));
            }
            _ => {}
        }
    }

    fn gets(&mut self, message: &Message) {
        let before = self.handled.insert(message.id, message.seq);
        assert!(before.is_none_or(|seq| seq == message.seq), "{} came as {before:?} and {}", message.id, message.seq);
        if before.is_none() {
            if self.recent.len() == MAX_LIST {
                self.recent.pop_front();
            }
            self.recent.push_back(message.id);
        }
        self.open.insert(message.seq);
        self.highest = self.highest.max(message.seq);
    }

    /// Acks the gap that it was told of.
    pub fn acks_gap(&mut self) -> Option<ClientFrame> {
        self.gap.take().map(|number| ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry: None, gap: Some(number) })
    }

    /// Acks everything, or some, or one of its way.
    pub fn acks(&mut self, salt: u64) -> Option<ClientFrame> {
        let seqs: Vec<u64> = self.open.iter().copied().collect();
        let pick = *seqs.get(usize::try_from(salt >> 8).unwrap() % seqs.len().max(1))?;
        Some(match salt % 8 {
            0 => {
                // Said already, or in the past: changes nothing.
                ClientFrame::Ack {
                    up_to: Some(self.highest.min(salt >> 50)),
                    seqs: vec![self.highest.min(salt >> 55)],
                    entry: None,
                    gap: None,
                }
            }
            1..=3 => {
                self.open.retain(|seq| *seq > pick);
                ClientFrame::Ack { up_to: Some(pick), seqs: Vec::new(), entry: None, gap: None }
            }
            4 => {
                self.open.remove(&pick);
                ClientFrame::Nack { seq: pick, how: How::Later(Duration::from_millis(salt >> 40 & 0xfff)), reason: None }
            }
            5 if salt & 0x1000 == 0 => {
                self.open.remove(&pick);
                self.rejected.insert(pick);
                ClientFrame::Nack { seq: pick, how: How::Reject, reason: Some("no such screen".to_owned()) }
            }
            _ => {
                self.open.remove(&pick);
                ClientFrame::Ack { up_to: None, seqs: vec![pick, pick], entry: None, gap: None }
            }
        })
    }
}
