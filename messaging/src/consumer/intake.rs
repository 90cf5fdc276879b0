//! What arrived from the queues of a consumer and waits for a slot, in the order in which it is to have one.

use broker_topology::Priority;
use tokio::sync::mpsc;

use super::receive::Arrived;
use super::turns::Turns;

/// Both classes. A consumer of one queue has nothing but normal arrivals.
pub(super) struct Intake {
    high: Side,
    normal: Side,
    turns: Turns,
}

struct Side {
    arriving: mpsc::Receiver<Arrived>,
    /// Taken to see whether there is one.
    head: Option<Arrived>,
}

impl Intake {
    pub(super) fn new(high: mpsc::Receiver<Arrived>, normal: mpsc::Receiver<Arrived>) -> Self {
        let side = |arriving| Side { arriving, head: None };
        Self { high: side(high), normal: side(normal), turns: Turns::default() }
    }

    /// Waits until something is there to be taken; `false` once nothing will come any more.
    pub(super) async fn wait(&mut self) -> bool {
        if self.high.look() || self.normal.look() {
            return true;
        }
        tokio::select! {
            biased;
            Some(arrived) = self.high.arriving.recv() => self.high.head = Some(arrived),
            Some(arrived) = self.normal.arriving.recv() => self.normal.head = Some(arrived),
            else => return false,
        }
        true
    }

    /// Takes what is next at this moment.
    pub(super) fn next(&mut self) -> Option<Arrived> {
        let (high, normal) = (self.high.look(), self.normal.look());
        match self.turns.next(high, normal)? {
            Priority::High => self.high.head.take(),
            Priority::Normal => self.normal.head.take(),
        }
    }
}

impl Side {
    fn look(&mut self) -> bool {
        if self.head.is_none() {
            self.head = self.arriving.try_recv().ok();
        }
        self.head.is_some()
    }
}
