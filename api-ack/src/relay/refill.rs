//! What waits in the store without an owner comes into memory, as far as it may go out.

use std::collections::HashSet;

use super::reach::TurnedAway;
use super::turns::{Parts, Turns};
use super::{Item, Lanes, Relay, free};
use crate::store::{Job, Lane, Payload, Portion, Priority, StoreError};
use database::clock;

impl Relay {
    /// Claims from each lane its part of what its kind's window leaves, as far as there is memory; `true` if more waits that may go
    /// out. What may not stays in the store, and its window is counted until it may.
    pub(super) async fn refill(&self, lanes: &mut Lanes, turns: &mut Turns) -> bool {
        let (memory, store) = (&self.handed.memory, &self.parts.store);
        let now = clock::now();
        let mut waiting: Vec<Lane> = match store.lanes(now).await {
            // A kind that was taken out of the configuration waits until it is back.
            Ok(waiting) => waiting.into_iter().filter(|lane| self.parts.kinds.get(&lane.kind).is_some()).collect(),
            Err(error) => {
                tracing::warn!(error = %error, "cannot read what waits to be published");
                return false;
            }
        };
        let full = |lane: &Lane| memory.windows.room(&lane.kind, lane.priority) == 0;
        self.want(waiting.iter().filter(|lane| full(lane)));
        self.handed.count(&**store, self.parts.processes.count()).await;
        let mut more = self.claim_letters(lanes, now).await;
        turns.arrange(&mut waiting);
        let with_high: HashSet<(String, String)> = waiting
            .iter()
            .filter(|lane| lane.priority == Priority::High)
            .map(|lane| (lane.kind.clone(), lane.tenant.clone()))
            .collect();
        let (open, closed): (Vec<Lane>, Vec<Lane>) =
            waiting.into_iter().partition(|lane| !full(lane) && lanes.trial(lane) != Some(0));
        let high = open.partition_point(|lane| lane.priority == Priority::High);
        let mut parts = Parts::new(&open, turns);
        for lane in &open {
            let part = parts.of(lane, memory.windows.room(&lane.kind, lane.priority), turns);
            let part = lanes.trial(lane).map_or(part, |rows| part.min(rows as u32));
            let sharers = if lane.priority == Priority::High { high } else { open.len() - high };
            let Some(share) = memory.rooms.share(lane, sharers) else {
                more |= part > 0;
                continue;
            };
            if part == 0 {
                continue;
            }
            let portion = Portion { rows: share.rows.min(part), ..share };
            let passing = lane.priority == Priority::Normal && with_high.contains(&(lane.kind.clone(), lane.tenant.clone()));
            match self.claim(lanes, lane, portion, passing, now).await {
                Ok(rows) => {
                    turns.gave(lane, rows);
                    more |= rows > 0 && !full(lane) && lanes.trial(lane).is_none();
                }
                Err(error) => {
                    self.handed.doubt.notify_one();
                    tracing::warn!(error = %error, kind = lane.kind, "cannot claim what waits to be published");
                }
            }
        }
        self.want(open.iter().chain(&closed).filter(|lane| full(lane)));
        more
    }

    /// Claims dead letters, which need no leave; `true` if more may wait.
    async fn claim_letters(&self, lanes: &mut Lanes, now: i64) -> bool {
        let Some(portion) = self.handed.memory.rooms.rest() else { return false };
        match self.parts.store.claim_letters(self.parts.processes.me(), now, portion).await {
            Ok(rows) => self.take_in(lanes, Priority::Normal, rows).await > 0,
            Err(error) => {
                self.handed.doubt.notify_one();
                tracing::warn!(error = %error, "cannot claim dead letters that wait to be published");
                false
            }
        }
    }

    fn want<'a>(&self, lanes: impl Iterator<Item = &'a Lane>) {
        for lane in lanes {
            self.handed.memory.windows.want(&lane.kind, lane.priority);
        }
    }

    /// Claims a portion of a lane; answers how many rows came into memory.
    async fn claim(
        &self,
        lanes: &mut Lanes,
        lane: &Lane,
        portion: Portion,
        passing: bool,
        now: i64,
    ) -> Result<usize, StoreError> {
        let (store, me) = (&self.parts.store, self.parts.processes.me());
        let rows = match passing {
            // High ones come by their own lane, as far as their window lets them; here they would be in the way.
            true => store.claim_normal(me, lane, now, portion).await?,
            false => store.claim(me, lane, now, portion).await?,
        };
        Ok(self.take_in(lanes, lane.priority, rows).await)
    }

    /// Takes claimed rows into the room of a class; answers how many.
    async fn take_in(&self, lanes: &mut Lanes, room: Priority, rows: Vec<(Job, Payload)>) -> usize {
        let mut refused = Vec::new();
        let claimed = rows.len();
        for (job, payload) in rows {
            match self.handed.memory.admit(room, &job, &payload) {
                Some(ticket) => lanes.push(Item { job, payload, ticket }),
                // What came through the door meanwhile took the place.
                None => refused.push(job),
            }
        }
        self.let_go(&refused.iter().collect::<Vec<_>>()).await;
        claimed - refused.len()
    }

    /// Gives rows up: there is no room for them, or their kind may not go out any more and others need the memory.
    pub(super) async fn let_go(&self, jobs: &[&Job]) {
        self.put_down(&jobs.iter().map(|job| (*job, None)).collect::<Vec<_>>()).await;
    }

    /// Gives rows up, each with what its job is to show if the broker turned it away.
    pub(super) async fn put_down(&self, jobs: &[(&Job, Option<&TurnedAway>)]) {
        if let Err(error) = free::free(&*self.parts.store, jobs).await {
            // They are ours until somebody looks for strays.
            self.handed.doubt.notify_one();
            tracing::warn!(error = %error, rows = jobs.len(), "cannot give claimed rows up");
        }
    }
}
