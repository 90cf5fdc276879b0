//! Leaving: every session is told to go, a few at a time, and what it had is there for its next one.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Sessions;
use crate::protocol::GoAway;
use crate::store::Number;

/// Sessions that are told at one time.
const TOGETHER: usize = 100;

impl Sessions {
    /// Waits for `drain`, ends all sessions within [`Options::drain_within`](super::Options::drain_within), and then says `over` to those who write for
    /// them.
    pub(super) async fn drains(self, drain: CancellationToken, over: CancellationToken) {
        drain.cancelled().await;
        let options = &self.0.options;
        let count = self.0.live.len();
        self.0.polling.end();
        // A third of the time to tell them, the rest for what is with them.
        let parts = u32::try_from(count.div_ceil(TOGETHER)).unwrap_or(u32::MAX).max(1);
        let pause = (options.drain_within / 3 / parts).min(Duration::from_millis(50));
        let within = options.drain_within / 3;
        let away = GoAway { after: Duration::ZERO, spread: options.goaway_spread };
        let mut after = Number(i64::MIN);
        loop {
            let sessions = self.0.live.after(after, TOGETHER);
            let Some((last, _)) = sessions.last() else { break };
            after = *last;
            sessions.iter().for_each(|(_, entry)| entry.post.drain(away, within));
            tokio::time::sleep(pause).await;
        }
        let ended = self.0.connections.wait();
        if tokio::time::timeout(options.drain_within, ended).await.is_err() {
            tracing::warn!(sessions = self.0.live.len(), "sessions did not end in time; others release them");
        }
        self.0.rooms.sends_by(None);
        tracing::info!(sessions = count, "sessions of devices have ended");
        over.cancel();
    }
}
