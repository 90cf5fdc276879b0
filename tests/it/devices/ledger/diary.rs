//! What a device was to get and what it has handled.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::clients::Nature;
use crate::devices::fleet::Registered;

/// Cheap chance that can be had again.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ (seed + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9))
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

pub(super) struct Diary {
    pub(super) device: Registered,
    pub(super) transport: &'static str,
    pub(super) nature: Nature,
    /// Ids of what was accepted, by number, once all is sent.
    expected: Mutex<Option<Vec<String>>>,
    /// Number and `seq`, in the order in which they were handled.
    handled: Mutex<Vec<(usize, u64)>>,
    /// Number and `seq`, by id.
    known: Mutex<HashMap<String, (usize, u64)>>,
    copies: AtomicUsize,
}

pub(super) struct Verdict {
    pub(super) accepted: usize,
    pub(super) lost: usize,
    pub(super) copies: usize,
}

impl Diary {
    pub(super) fn new(device: Registered, transport: &'static str, nature: Nature) -> Self {
        let (expected, handled, known) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { device, transport, nature, expected, handled, known, copies: AtomicUsize::new(0) }
    }

    pub(super) fn id(&self) -> &str {
        &self.device.id
    }

    pub(super) fn expects(&self, ids: Vec<String>) {
        *self.expected.lock().unwrap() = Some(ids);
    }

    pub(super) fn expected(&self) -> Vec<String> {
        self.expected.lock().unwrap().clone().unwrap_or_default()
    }

    /// A message has come. The same again has the id and the `seq` of the first.
    pub(super) fn take(&self, id: &str, seq: u64, data: &Value) {
        assert_eq!(data["device"], self.id(), "leaked: {data}");
        let number = usize::try_from(data["number"].as_u64().expect("the message as it was sent")).unwrap();
        match self.known.lock().unwrap().insert(id.to_owned(), (number, seq)) {
            Some(first) => {
                assert_eq!(first, (number, seq), "{id} is not what it was");
                self.copies.fetch_add(1, Ordering::Relaxed);
            }
            None => self.handled.lock().unwrap().push((number, seq)),
        }
    }

    /// Ids of what has come.
    pub(super) fn ids(&self) -> HashSet<String> {
        self.known.lock().unwrap().keys().cloned().collect()
    }

    /// What was handled, in order.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.handled.lock().unwrap().iter().map(|(number, _)| *number).collect()
    }

    /// The highest `seq` that has come.
    pub(super) fn highest(&self) -> u64 {
        self.handled.lock().unwrap().iter().map(|(_, seq)| *seq).max().unwrap_or(0)
    }

    pub(super) fn count(&self) -> usize {
        self.handled.lock().unwrap().len()
    }

    /// Whether all was sent, and handled.
    pub(super) fn is_full(&self) -> bool {
        self.expected.lock().unwrap().as_ref().is_some_and(|ids| ids.len() <= self.count())
    }

    /// Everything once in its eyes, in order, under the ids that were answered, and nothing else.
    pub(super) fn judge(&self) -> Verdict {
        let (expected, handled, known) = (self.expected(), self.handled.lock().unwrap(), self.known.lock().unwrap());
        let lost = expected.iter().filter(|id| !known.contains_key(*id)).count();
        assert!(
            handled.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1),
            "{}: out of order {handled:?}",
            self.id()
        );
        assert_eq!(known.len(), expected.len() - lost, "{}: more than was accepted", self.id());
        assert!(expected.iter().enumerate().all(|(n, id)| known.get(id).is_none_or(|(number, _)| *number == n)), "{}", self.id());
        Verdict { accepted: expected.len(), lost, copies: self.copies.load(Ordering::Relaxed) }
    }
}

impl fmt::Display for Diary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.expected.lock().unwrap().as_ref().map(Vec::len);
        write!(f, "{}: {} handled of {sent:?}", self.id(), self.count())
    }
}
