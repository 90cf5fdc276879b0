//! How messages get into the group commit ([`database::writer`]), and who hears of them first.

use std::sync::Arc;

use database::StoreError;
use database::clock;
use database::writer::{Batch, Commit};
use tokio::sync::oneshot;

use crate::follow::{Follow, Fresh, NewEntry};
use crate::store::{Entry, Limits, Logged, MessageStore, NewMessage, Sent};

pub(super) type Reply = oneshot::Sender<Result<Sent, StoreError>>;

/// What the writer commits.
pub(super) struct Messages {
    pub(super) store: Arc<dyn MessageStore>,
    pub(super) limits: Limits,
    pub(super) follow: Arc<dyn Follow>,
}

impl Commit for Messages {
    type Asked = (NewMessage, Reply);
    type Row = NewMessage;
    type Waiter = Reply;
    type Fate = Sent;

    fn bytes((new, _): &Self::Asked) -> usize {
        new.message.body.len()
    }

    fn gather(&self, asked: Vec<Self::Asked>) -> Batch<Self> {
        asked.into_iter().unzip()
    }

    async fn store(&self, rows: &[NewMessage]) -> Result<Vec<Sent>, StoreError> {
        self.store.send(rows, &self.limits, clock::now()).await
    }

    /// What one transaction had no room for goes into the next, before anything that came later: a device gets messages of one
    /// sender in the order in which they were sent.
    fn tell(&self, rows: Vec<NewMessage>, waiters: Vec<Reply>, sent: Vec<Sent>) -> Batch<Self> {
        let mut deferred = Batch::<Self>::default();
        let (mut deliveries, mut made_way, mut scheduled) = (Vec::new(), Vec::new(), None);
        let mut entries = Vec::new();
        for ((row, waiter), sent) in rows.into_iter().zip(waiters).zip(sent) {
            match sent {
                Sent::Deferred => {
                    deferred.0.push(row);
                    deferred.1.push(waiter);
                }
                mut sent => {
                    if let Sent::Accepted { logged: Some(logged), .. } = &mut sent {
                        let Logged { entry, tag, expires_at, author } = Logged::clone(logged);
                        let entry = Arc::new(Entry { entry, tag, expires_at, author, message: row.message });
                        entries.push(NewEntry { tenant: row.tenant.into(), entry });
                    } else if let Sent::Accepted { placed, withdrawn, .. } = &mut sent {
                        let message = Arc::new(row.message);
                        deliveries.extend(placed.iter().map(|&placed| Fresh { placed, message: message.clone() }));
                        made_way.append(withdrawn);
                        // What is due already has its places; to be told of it as well does no harm.
                        scheduled = [scheduled, row.not_before].into_iter().flatten().min();
                    }
                    let _ = waiter.send(Ok(sent));
                }
            }
        }
        if !deliveries.is_empty() {
            self.follow.stored(&deliveries);
        }
        if !entries.is_empty() {
            self.follow.logged(&entries);
        }
        if !made_way.is_empty() {
            self.follow.withdrawn(&made_way);
        }
        if let Some(due_at) = scheduled {
            self.follow.scheduled(due_at);
        }
        deferred
    }

    fn fail(&self, waiters: Vec<Reply>, error: StoreError) {
        for waiter in waiters {
            let _ = waiter.send(Err(error.clone()));
        }
    }
}
