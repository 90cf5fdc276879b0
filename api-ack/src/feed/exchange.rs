//! How processes tell each other of changes: over the exchange `warren.notices`, and only while somebody asks for them.
//!
//! A notice is JSON: `{"from": 7, "n": 12, "watch": ["demo.echo"], "changed": {"demo.echo": ["<job id>"]}}`. `watch` are the kinds that
//! its sender has subscribers of, said at once and every 5 s, and good for 15 s. `changed` are jobs of kinds that others watch.
//!
//! Each sender counts its notices: whoever finds a number missing, or hears nothing more of a sender that it heard of, knows that something
//! may have been missed. Who may publish to the exchange may cause looks into the store, and nothing else: what is told is what the rows say.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use broker_topology::Names;
use messaging::connection::Link;
use messaging::keys::{self, Keys, Shared};
use messaging::notices::{self, Heard};
use messaging::publisher::Publisher;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Feed;
use crate::store::ProcessId;

/// How often a process says what it watches, and that it is there.
const SAY: Duration = Duration::from_secs(5);

/// How long that counts.
const COUNTS: Duration = Duration::from_secs(15);

/// Between two looks at what there is to say.
const TICK: Duration = Duration::from_millis(100);

/// How long the number of a sender is remembered that is not heard any more.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Kinds watched elsewhere, at most.
const KINDS: usize = 4096;

/// What processes tell each other.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Notice {
    from: i64,
    n: u64,
    #[serde(default)]
    watch: Vec<String>,
    #[serde(default)]
    changed: BTreeMap<String, Vec<Uuid>>,
}

/// A feed's way to those of other processes.
pub struct Exchange {
    /// The feed.
    pub feed: Feed,
    /// To publish with.
    pub publisher: Publisher,
    /// To listen with.
    pub link: Link,
    /// Names on this broker.
    pub names: Names,
    /// This process.
    pub me: ProcessId,
    /// Which keys are published, by all processes as far as they tell.
    pub keys: Keys,
    /// To tell it with: who may not publish notices loses its channel.
    pub telling: Publisher,
}

impl Exchange {
    /// Tells and listens until `stop`. The exchange must have been declared.
    pub async fn run(self, stop: CancellationToken) {
        let (sender, heard) = mpsc::channel(64);
        let listening = notices::listen(self.link.clone(), self.names.clone(), sender, stop.clone());
        let hearing = Hearing { feed: self.feed.clone(), me: self.me, senders: HashMap::new(), keys: self.keys.clone() };
        let hearing = hearing.run(heard);
        let (keys, telling) = (self.keys.clone(), self.telling.clone());
        let sharing = keys::share(keys, self.me.0.to_string(), telling, self.names.clone(), keys::MINUTE, stop.clone());
        tokio::select! {
            () = stop.cancelled() => {}
            _ = async { tokio::join!(listening, hearing, sharing, self.tell()) } => {}
        }
    }

    async fn tell(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut n, mut said) = (0, Instant::now() - SAY);
        loop {
            tick.tick().await;
            let (notice, announcing) = {
                let mut state = self.feed.lock();
                let now = Instant::now();
                state.elsewhere.retain(|_, until| *until > now);
                self.feed.see_who_is_there(&state);
                let announcing = std::mem::take(&mut state.announcing);
                let telling = std::mem::take(&mut state.telling);
                let anybody = !state.here.is_empty() || !state.elsewhere.is_empty();
                let due = anybody && now.duration_since(said) >= SAY;
                if announcing.is_empty() && telling.is_empty() && !due {
                    continue;
                }
                // A number that is never used tells the others that something is missing.
                n += 1 + u64::from(std::mem::take(&mut state.untold));
                said = now;
                let changed = telling.into_iter().map(|(kind, ids)| (kind, ids.into_iter().collect()));
                (
                    Notice { from: self.me.0, n, watch: state.here.keys().cloned().collect(), changed: changed.collect() },
                    announcing,
                )
            };
            if let Err(error) = notices::tell(&self.publisher, &self.names, notices::KIND, "/warren/hub", &notice).await {
                tracing::debug!(error = %error, "the next notice says that one is missing");
            }
            for announced in announcing {
                let _ = announced.send(());
            }
        }
    }
}

/// What a process makes of what it hears.
struct Hearing {
    feed: Feed,
    me: ProcessId,
    senders: HashMap<i64, Sender>,
    keys: Keys,
}

/// Another process that was heard.
struct Sender {
    /// Its last number.
    n: u64,
    /// When that was.
    heard: Instant,
    /// It should have said more since, and those here were told of the gap.
    silent: bool,
}

impl Hearing {
    async fn run(mut self, mut heard: mpsc::Receiver<Heard>) {
        let mut tick = tokio::time::interval(SAY);
        loop {
            tokio::select! {
                heard = heard.recv() => match heard {
                    Some(Heard::Open) => self.opened(true),
                    Some(Heard::Lost) => self.opened(false),
                    Some(Heard::Notice(body)) => self.read(&body),
                    None => return,
                },
                _ = tick.tick() => self.miss(Instant::now()),
            }
        }
    }

    fn read(&mut self, body: &[u8]) {
        match serde_json::from_slice(body) {
            Ok(notice) => self.hear(notice, Instant::now()),
            Err(error) => match Shared::read(body) {
                // What it told itself it has counted already.
                Some(shared) if shared.teller == self.me.0.to_string() => {}
                Some(shared) => self.keys.heard(&shared.keys),
                None => tracing::debug!(error = %error, "a notice cannot be read"),
            },
        }
    }

    fn opened(&mut self, connected: bool) {
        self.feed.lock().connected = connected;
        self.senders.clear();
        self.feed.gap("notices");
    }

    fn hear(&mut self, notice: Notice, now: Instant) {
        if notice.from == self.me.0 {
            return;
        }
        let mut state = self.feed.lock();
        for kind in notice.watch {
            if state.elsewhere.len() < KINDS || state.elsewhere.contains_key(&kind) {
                state.elsewhere.insert(kind, now + COUNTS);
            }
        }
        self.feed.see_who_is_there(&state);
        if state.here.is_empty() {
            self.senders.clear();
            return;
        }
        for (kind, ids) in notice.changed {
            for id in ids {
                self.feed.note_here(&mut state, &kind, id);
            }
        }
        drop(state);
        let before = self.senders.insert(notice.from, Sender { n: notice.n, heard: now, silent: false });
        if before.is_some_and(|before| before.n + 1 != notice.n) {
            self.feed.gap("notices");
        }
    }

    /// Sees who has fallen silent, and may have something to say that is not heard. Its number is kept: it may only be unable to speak.
    fn miss(&mut self, now: Instant) {
        self.senders.retain(|_, sender| now.duration_since(sender.heard) < FORGOTTEN);
        let newly = self.senders.values_mut().filter(|sender| !sender.silent && now.duration_since(sender.heard) >= COUNTS);
        if newly.map(|sender| sender.silent = true).count() > 0 {
            self.feed.gap("notices");
        }
    }
}

#[cfg(test)]
mod tests;
