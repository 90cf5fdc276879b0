//! What one session asks of the store: pages, acks, gaps that were told, receipts of reading. Of each sort one question is under way.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use database::clock;
use futures::FutureExt;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::Sessions;
use super::driver::nothing;
use super::rows::given;
use super::settling::{Settlement, Waiter};
use super::tenure::Tenure;
use crate::protocol::Gap as ToldGap;
use crate::session::{Ask, End, Ended, Event, Page};
use crate::store::{Ack, Gap, Limit, Outcome, Pending, StoreError, Which};

/// Messages that are said to be read and not stored yet, at most.
const READ: usize = 1024;

/// How often a receipt of reading, or a gap that was told, is tried.
const TRIES: u32 = 5;

type Read = Result<Pending, StoreError>;

pub(super) struct Asking {
    sessions: Sessions,
    /// The `seq` given last at the time of the claim.
    floor: i64,
    caught_up: bool,
    page: Option<(Ask, BoxFuture<'static, Read>)>,
    /// Ends that wait for the settlement that is under way.
    ends: Vec<End>,
    /// Settlements without an answer.
    settling: u16,
    chore: Option<BoxFuture<'static, ()>>,
    read: Vec<Uuid>,
    /// What is to be forgotten, once the device has said that it knows.
    told: Option<Gap>,
    gap: Option<(Gap, u64)>,
}

impl Asking {
    pub(super) fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            floor: 0,
            caught_up: false,
            page: None,
            ends: Vec::new(),
            settling: 0,
            chore: None,
            read: Vec::new(),
            told: None,
            gap: None,
        }
    }

    pub(super) fn begin(&mut self, floor: i64, caught_up: bool) {
        (self.floor, self.caught_up) = (floor, caught_up);
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
                        Ok(pending) => Event::Page { ask: ask.number, page: self.turn(ask, pending) },
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
        if mem::take(&mut self.caught_up) {
            let pending = Pending::default();
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

    fn turn(&mut self, ask: Ask, pending: Pending) -> Page {
        let gap = pending.gap.map(|gap| self.number(gap));
        let last = pending.messages.last().map_or(0, |given| given.seq);
        let through = nothing(last.max(self.floor)).through.max(ask.after);
        Page { messages: pending.messages.into_iter().map(given).collect(), more: pending.more, through, gap }
    }

    /// A number for a gap that rises with it, in later sessions too: the time of the look that found it so.
    fn number(&mut self, gap: Gap) -> ToldGap {
        let number = match &self.gap {
            Some((known, number)) if *known == gap => *number,
            before => before.as_ref().map_or(0, |(_, number)| number + 1).max(clock::now().unsigned_abs()),
        };
        self.gap = Some((gap, number));
        ToldGap { number, reason: gap.reason.name().to_owned(), count: u64::try_from(gap.count).ok() }
    }

    /// The device has acked a gap. One that has grown since is told once more.
    pub(super) fn gap_told(&mut self, number: u64) {
        self.told = self.gap.filter(|(_, last)| *last == number).map(|(gap, _)| gap).or(self.told);
    }

    /// Messages were read by somebody; whether there is room for them.
    pub(super) fn read(&mut self, ids: Vec<Uuid>) -> bool {
        self.read.extend(ids);
        self.read.len() <= READ
    }

    pub(super) fn settle(&mut self, ends: Vec<End>) {
        self.ends.extend(ends);
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
                    if let Some(gap) = &left.1 {
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
