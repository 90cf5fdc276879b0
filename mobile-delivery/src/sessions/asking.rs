//! What one session asks of the store: pages, acks, gaps that were told, receipts of reading. Of each sort one question is under way.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use database::clock;
use futures::FutureExt;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::Sessions;
use super::checking::Check;
use super::rows::{given, told_gap};
use super::settling::{Settlement, Waiter};
use super::tenure::Tenure;
use crate::session::{Ask, End, Ended, Event, Page};
use crate::store::{Ack, Limit, Outcome, Pending, StoreError, Which};

/// Messages that are said to be read and not stored yet, at most.
const READ: usize = 1024;

/// How often a receipt of reading, or a gap that was told, is tried.
const TRIES: u32 = 5;

type Read = Result<Pending, StoreError>;

pub(super) struct Asking {
    sessions: Sessions,
    /// The `seq` that was given last, where the claim says that all up to it has ended: the first page need not be read.
    caught_up: Option<i64>,
    page: Option<(Ask, BoxFuture<'static, Read>)>,
    /// Ends that wait for the settlement that is under way.
    ends: Vec<End>,
    /// Settlements without an answer.
    settling: u16,
    chore: Option<BoxFuture<'static, ()>>,
    read: Vec<Uuid>,
    /// The gap that the device has said it knows of.
    told: Option<i64>,
}

impl Asking {
    pub(super) fn new(sessions: Sessions) -> Self {
        Self { sessions, caught_up: None, page: None, ends: Vec::new(), settling: 0, chore: None, read: Vec::new(), told: None }
    }

    pub(super) fn begin(&mut self, caught_up: Option<i64>) {
        self.caught_up = caught_up;
    }

    /// The next answer. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                biased;
                (ask, read) = async {
                    match &mut self.page {
                        Some((ask, reading)) => (*ask, reading.await),
                        None => std::future::pending().await,
                    }
                } => {
                    self.page = None;
                    return match read {
                        Ok(pending) => Event::Page { ask: ask.number, page: page(pending) },
                        Err(error) => {
                            tracing::debug!(error = %error, "cannot read what a device has to get, trying again");
                            Event::Unread { ask: ask.number }
                        }
                    };
                }
                () = async {
                    match &mut self.chore {
                        Some(chore) => chore.await,
                        None => std::future::pending().await,
                    }
                } => {
                    self.chore = None;
                }
            }
        }
    }

    pub(super) fn ask(&mut self, ask: Ask, tenure: Option<&Tenure>) {
        let Some(tenure) = tenure else { return };
        if let Some(through) = self.caught_up.take() {
            let pending = Pending { through, ..Pending::default() };
            self.page = Some((ask, std::future::ready(Ok(pending)).boxed()));
            return;
        }
        let (sessions, device) = (self.sessions.clone(), tenure.identity.number);
        let after = i64::try_from(ask.after).unwrap_or(i64::MAX);
        let limit = Limit { messages: ask.messages.into(), bytes: ask.bytes.into() };
        let reading = async move {
            // Closed never.
            let _turn = sessions.0.reads.acquire().await;
            sessions.0.stores.sessions.pending(device, after, limit, clock::now()).await
        };
        self.page = Some((ask, reading.boxed()));
    }

    /// The device has acked a gap. What was dropped since is told once more.
    pub(super) fn gap_told(&mut self, number: u64) {
        self.told = i64::try_from(number).ok().max(self.told);
    }

    /// Messages were read by somebody; whether there is room for them.
    pub(super) fn read(&mut self, ids: Vec<Uuid>) -> bool {
        self.read.extend(ids);
        self.read.len() <= READ
    }

    pub(super) fn settle(&mut self, ends: Vec<End>) {
        self.ends.extend(ends);
    }

    /// What became of these is answered by the post.
    pub(super) fn check(&self, held: Vec<(u64, Uuid)>, tenure: Option<&Tenure>) {
        let Some(tenure) = tenure else { return };
        let held = held.into_iter().filter_map(|(seq, id)| Some((i64::try_from(seq).ok()?, id))).collect();
        self.sessions.0.checking.put(Check { device: tenure.identity.number, held, post: tenure.post.clone() });
    }

    pub(super) fn settled(&mut self, answers: u16) {
        self.settling = self.settling.saturating_sub(answers);
    }

    /// Puts what waits to be settled, once what was put before is answered; and begins what else waits.
    pub(super) fn go_on(&mut self, tenure: Option<&Tenure>) {
        let Some(tenure) = tenure else { return };
        if self.settling == 0 && !self.ends.is_empty() {
            let ends = mem::take(&mut self.ends);
            for (ack, seqs) in acks(tenure, &ends) {
                self.settling += 1;
                self.sessions.0.settling.put(Settlement { ack, waiter: Waiter::Session(tenure.post.clone(), seqs) });
            }
        }
        if self.chore.is_none() && (!self.read.is_empty() || self.told.is_some()) {
            self.begin_chore(tenure);
        }
    }

    fn begin_chore(&mut self, tenure: &Tenure) {
        let (sessions, device, fence) = (self.sessions.clone(), tenure.identity.number, tenure.fence);
        let (read, told) = (mem::take(&mut self.read), self.told.take());
        let chore = async move {
            let mut left = (read, told);
            for attempt in 1..=TRIES {
                let stores = &sessions.0.stores;
                let done = async {
                    if let Some(gap) = left.1 {
                        stores.sessions.told(device, fence, gap).await?;
                        left.1 = None;
                    }
                    if !left.0.is_empty() {
                        stores.messages.read(device, &left.0, clock::now()).await?;
                    }
                    Ok::<_, StoreError>(())
                };
                match done.await {
                    Ok(()) => return,
                    Err(error) if attempt == TRIES => tracing::warn!(error = %error, "what a device has read is not stored"),
                    Err(_) => tokio::time::sleep(Duration::from_secs(1) * attempt).await,
                }
            }
        };
        self.chore = Some(chore.boxed());
    }

    /// What the device was done with is settled all the same; nobody waits for it.
    pub(super) fn leave(&mut self, tenure: Option<&Tenure>) {
        let Some(tenure) = tenure else { return };
        for (ack, _) in acks(tenure, &mem::take(&mut self.ends)) {
            self.sessions.0.settling.put(Settlement { ack, waiter: Waiter::Nobody });
        }
        if self.chore.is_none() && (!self.read.is_empty() || self.told.is_some()) {
            self.begin_chore(tenure);
        }
        if let Some(chore) = self.chore.take() {
            self.sessions.0.tasks.spawn(chore);
        }
    }
}

/// What a session is told of what the store has.
fn page(pending: Pending) -> Page {
    Page {
        messages: pending.messages.into_iter().map(given).collect(),
        more: pending.more,
        through: pending.through.unsigned_abs(),
        gap: pending.gap.map(told_gap),
    }
}

/// Acks of ends, one for each outcome that there is.
fn acks(tenure: &Tenure, ends: &[End]) -> Vec<(Ack, Vec<u64>)> {
    let mut by_outcome: HashMap<Outcome, Vec<u64>> = HashMap::new();
    for end in ends {
        by_outcome.entry(outcome(&end.ended)).or_default().push(end.seq);
    }
    let ack = |(outcome, seqs): (Outcome, Vec<u64>)| {
        let which = Which::Seqs(seqs.iter().map(|seq| i64::try_from(*seq).unwrap_or(i64::MAX)).collect());
        (Ack { device: tenure.identity.number, fence: tenure.fence, which, outcome }, seqs)
    };
    by_outcome.into_iter().map(ack).collect()
}

fn outcome(ended: &Ended) -> Outcome {
    match ended {
        Ended::Delivered => Outcome::Delivered,
        // No database has a place for NUL.
        Ended::Rejected { reason } => Outcome::Rejected { detail: reason.as_ref().map(|reason| reason.replace('\0', "")) },
    }
}
