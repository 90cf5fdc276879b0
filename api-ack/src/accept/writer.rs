//! How jobs get into the group commit ([`database::writer`]), and what follows it.
//!
//! Keys within a batch are deduplicated here: the second request of a key waits for the first and shares its answer. Every caller
//! learns the fate of its own row; an unknown outcome (the database went away) is reported as such.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use database::writer::{self, Batch, Commit};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::{AcceptError, Accepted};
use crate::relay::{HandOver, Ticket};
use crate::store::{Inserted, JobStore, Key, NewJob, State, StoreError};
pub use database::writer::WriterOptions;

type Reply = oneshot::Sender<Result<Accepted, AcceptError>>;

/// Stores jobs with whoever else is waiting. Cheap to clone; ends when the last clone is gone.
#[derive(Clone)]
pub struct Writer {
    queue: writer::Writer<Jobs>,
    store: Arc<dyn JobStore>,
}

impl Writer {
    /// Starts the writer task.
    pub fn start(store: Arc<dyn JobStore>, options: WriterOptions, hand_over: HandOver, tasks: &TaskTracker) -> Self {
        let queue = writer::Writer::start(Arc::new(Jobs { store: store.clone(), hand_over }), options, tasks);
        Self { queue, store }
    }

    /// The first answer to the request with this key again, if it has one.
    ///
    /// # Errors
    /// As [`AcceptError`].
    pub async fn first_answer(&self, key: Option<Key>) -> Result<Option<Accepted>, AcceptError> {
        let Some(key) = key else { return Ok(None) };
        match self.store.holder(key.hash).await {
            Ok(Some((id, fingerprint))) => replay(Some(key), id, fingerprint).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(AcceptError::Unavailable(error.to_string())),
        }
    }

    /// Stores one job and waits for the commit.
    ///
    /// # Errors
    /// As [`AcceptError`].
    pub async fn store(&self, new: NewJob) -> Result<Accepted, AcceptError> {
        let (reply, answer) = oneshot::channel();
        self.queue.put((new, reply)).map_err(|_| AcceptError::Backlog { retry_after: Duration::from_secs(1) })?;
        answer.await.map_err(|_| AcceptError::Unavailable("the process is shutting down".to_owned()))?
    }
}

struct Jobs {
    store: Arc<dyn JobStore>,
    hand_over: HandOver,
}

/// Who waits for a row, and those that came in the same batch with the same key.
struct Waiter {
    reply: Reply,
    /// A place in the relay's memory; without one the row is stored without an owner.
    ticket: Option<Ticket>,
    sharing: Vec<(NewJob, Reply)>,
}

impl Commit for Jobs {
    type Asked = (NewJob, Reply);
    type Row = NewJob;
    type Waiter = Waiter;
    type Fate = Inserted;

    fn bytes((new, _): &Self::Asked) -> usize {
        new.payload.body.len()
    }

    /// Puts requests with one key behind the first of them, and reserves places in the relay's memory.
    fn gather(&self, asked: Vec<Self::Asked>) -> Batch<Self> {
        let mut rows: Vec<NewJob> = Vec::with_capacity(asked.len());
        let mut waiters: Vec<Waiter> = Vec::with_capacity(asked.len());
        let mut by_key: HashMap<[u8; 32], usize> = HashMap::with_capacity(asked.len());
        for (mut new, reply) in asked {
            let hash = new.key.map(|key| key.hash);
            if let Some(first) = hash.and_then(|hash| by_key.get(&hash)) {
                waiters[*first].sharing.push((new, reply));
                continue;
            }
            if let Some(hash) = hash {
                by_key.insert(hash, waiters.len());
            }
            // What is scheduled waits in the store, where it can be listed and moved; whoever has room when it is due claims it.
            let now = new.job.status.state == State::Accepted;
            let ticket = now.then(|| self.hand_over.reserve(&new.job, &new.payload)).flatten();
            new.job.status.owner = ticket.as_ref().map(|_| self.hand_over.me());
            rows.push(new);
            waiters.push(Waiter { reply, ticket, sharing: Vec::new() });
        }
        (rows, waiters)
    }

    async fn store(&self, rows: &[NewJob]) -> Result<Vec<Inserted>, StoreError> {
        messaging::crash_point!("K1");
        let inserted = self.store.insert(rows).await?;
        messaging::crash_point!("K2");
        Ok(inserted)
    }

    fn tell(&self, rows: Vec<NewJob>, waiters: Vec<Waiter>, inserted: Vec<Inserted>) -> Batch<Self> {
        for ((new, waiter), inserted) in rows.into_iter().zip(waiters).zip(inserted) {
            self.answer(new, waiter, inserted);
        }
        messaging::crash_point!("K3");
        Batch::<Self>::default()
    }

    fn fail(&self, waiters: Vec<Waiter>, error: StoreError) {
        if matches!(error, StoreError::Unavailable(_)) {
            self.hand_over.doubt();
        }
        let error = match error {
            StoreError::Refused(why) => AcceptError::Refused(why),
            StoreError::Undecided(_) => AcceptError::Undecided,
            StoreError::Unavailable(why) | StoreError::Unusable(why) => AcceptError::Unavailable(why),
        };
        for waiter in waiters {
            for (_, reply) in waiter.sharing {
                let _ = reply.send(Err(error.clone()));
            }
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }
}

impl Jobs {
    fn answer(&self, new: NewJob, waiter: Waiter, inserted: Inserted) {
        let Waiter { reply, ticket, sharing } = waiter;
        let (first, result) = match inserted {
            Inserted::New => {
                let id = new.job.id;
                self.hand_over.note(&new.job.kind, id);
                let fingerprint = new.key.map(|key| key.fingerprint);
                match ticket {
                    Some(ticket) => self.hand_over.give(new.job, new.payload, ticket),
                    None if new.job.status.state == State::Accepted => self.hand_over.waits(&new.job),
                    None => {}
                }
                (fingerprint.map(|f| (id, f)), Ok(Accepted { id, replayed: false }))
            }
            Inserted::Existing { id, fingerprint } => (Some((id, fingerprint)), replay(new.key, id, fingerprint)),
        };
        let _ = reply.send(result);
        for (new, reply) in sharing {
            let _ = reply.send(match first {
                Some((id, fingerprint)) => replay(new.key, id, fingerprint),
                None => Err(AcceptError::Undecided),
            });
        }
    }
}

/// The first answer again, if it is the same request.
fn replay(key: Option<Key>, id: uuid::Uuid, fingerprint: [u8; 32]) -> Result<Accepted, AcceptError> {
    match key {
        Some(key) if key.fingerprint == fingerprint => Ok(Accepted { id, replayed: true }),
        _ => Err(AcceptError::KeyReused),
    }
}
