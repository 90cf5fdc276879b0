//! The slow round: what a lane lost, and what no notice told, is found in the store.
//!
//! Every second a share of the sessions is looked at, so that each has its turn once in [`Options::round`](super::Options::round), with two
//! statements for all of the share, and told when its lane is to be at another broker. Those without a lane have no other way to hear of anything new, and are looked at every second.

use std::time::Duration;

use database::clock;
use tokio_util::sync::CancellationToken;

use super::Sessions;
use super::tenure::Entry;
use crate::store::Number;

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);

/// Sessions in one statement.
const TOGETHER: usize = 4096;

impl Sessions {
    /// Goes round until `over`.
    pub(super) async fn rounds(self, over: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut after = Number(i64::MIN);
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.0.polling.end_lapsed();
            let waiting = self.0.live.without_lane(|shard| self.0.shards.is_shared(shard));
            for some in waiting.chunks(TOGETHER) {
                self.look_behind(some).await;
            }
            after = self.look_at_share(after).await;
        }
    }

    async fn look_at_share(&self, after: Number) -> Number {
        let ticks = self.0.options.round.as_secs().max(1);
        let share = self.0.live.len().div_ceil(usize::try_from(ticks).unwrap_or(1)).clamp(1, TOGETHER);
        let sessions = self.0.live.after(after, share);
        let idle = sessions.iter().filter(|(_, entry)| entry.post.is_idle() && entry.post.is_laned());
        let idle: Vec<(Number, i64)> = idle.map(|(device, entry)| (*device, entry.post.cursor())).collect();
        let lost = self.look_behind(&idle).await;
        self.0.metrics.lane_missed.inc_by(lost as u64);
        let fences: Vec<(Number, i64)> = sessions.iter().map(|(device, entry)| (*device, entry.fence)).collect();
        self.end_over(&fences).await;
        self.look_at_places(&sessions);
        self.look_at_tags(&sessions).await;
        // At the end it begins anew.
        if sessions.len() < share { Number(i64::MIN) } else { sessions.last().map_or(Number(i64::MIN), |(device, _)| *device) }
    }

    /// Has those of these take their lane along that have it where it should not be any more.
    fn look_at_places(&self, sessions: &[(Number, Entry)]) {
        for (device, entry) in sessions {
            let at = entry.post.shard();
            if at.is_some_and(|at| self.0.shards.wanted(*device, Some(&at)) != at) {
                entry.post.moves();
            }
        }
    }

    /// Has those of these look whose devices have other tags than they go by.
    pub(super) async fn look_at_tags(&self, sessions: &[(Number, Entry)]) {
        if sessions.is_empty() {
            return;
        }
        let rosters: Vec<(Number, i64)> = sessions.iter().map(|(device, entry)| (*device, entry.post.roster())).collect();
        match self.0.stores.log.stale(&rosters).await {
            Ok(stale) => {
                stale.iter().filter_map(|device| self.0.live.get(*device)).for_each(|entry| entry.post.retagged());
            }
            Err(error) => tracing::debug!(error = %error, "cannot look for groups that have changed; a later round does"),
        }
    }

    /// Has those of these look that have something to get; how many.
    async fn look_behind(&self, devices: &[(Number, i64)]) -> usize {
        if devices.is_empty() {
            return 0;
        }
        match self.0.stores.sessions.behind(devices, clock::now()).await {
            Ok(behind) => {
                behind.iter().filter_map(|device| self.0.live.get(*device)).for_each(|entry| entry.post.look());
                behind.len()
            }
            Err(error) => {
                tracing::debug!(error = %error, "cannot look for what sessions have missed; a later round does");
                0
            }
        }
    }
}
