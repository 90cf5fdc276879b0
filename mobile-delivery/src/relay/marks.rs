//! How far lanes are filled, put down for many devices in one statement: what comes while one is on its way goes with the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::store::{LaneStore, Mark};

/// Marks in one statement.
const TOGETHER: usize = 1024;

/// From the beginning of one statement to that of the next: the first mark goes at once, and those that follow go together.
const PACE: Duration = Duration::from_millis(10);

/// How often a batch is tried; then its devices are read again, and get copies.
const TRIES: u32 = 5;

/// Where marks are handed in.
#[derive(Clone)]
pub(super) struct Marks(mpsc::Sender<(Mark, oneshot::Sender<bool>)>);

/// The other end.
pub(super) struct Marker {
    store: Arc<dyn LaneStore>,
    queue: mpsc::Receiver<(Mark, oneshot::Sender<bool>)>,
}

/// A way to put marks down. Of one device there is one at a time.
pub(super) fn marks(store: Arc<dyn LaneStore>) -> (Marks, Marker) {
    let (sender, queue) = mpsc::channel(TOGETHER);
    (Marks(sender), Marker { store, queue })
}

impl Marks {
    /// Waits until the store has it. `false`: it does not count, or the store does not answer.
    pub(super) async fn mark(&self, mark: Mark) -> bool {
        let (told, answer) = oneshot::channel();
        self.0.send((mark, told)).await.is_ok() && answer.await.unwrap_or(false)
    }
}

impl Marker {
    /// Until nobody can hand in any more.
    pub(super) async fn run(mut self) {
        let mut taken = Vec::new();
        while self.queue.recv_many(&mut taken, TOGETHER).await > 0 {
            let next = Instant::now() + PACE;
            let (marks, askers): (Vec<Mark>, Vec<oneshot::Sender<bool>>) = taken.drain(..).unzip();
            for (asker, counts) in askers.into_iter().zip(self.put_down(&marks).await) {
                let _ = asker.send(counts);
            }
            sleep_until(next).await;
        }
    }

    async fn put_down(&self, marks: &[Mark]) -> Vec<bool> {
        for tried in 1..=TRIES {
            match self.store.mark_sent(marks).await {
                Ok(counted) => return counted,
                Err(error) => {
                    tracing::warn!(error = %error, lanes = marks.len(), "cannot mark how far lanes of devices are filled");
                    tokio::time::sleep(Duration::from_millis(100) * tried).await;
                }
            }
        }
        vec![false; marks.len()]
    }
}
