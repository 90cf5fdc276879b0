//! How processes tell each other that sessions may be over, or have something to find, and that messages ended: over the exchange `warren.notices`.
//!
//! A notice is JSON: `{"over": [[<process>, <device>, <fence>], ...], "ended": [[<process>, <device>, <message>], ...], "acked": [[<process>, <device>], ...]}`,
//! each for the process that has the session; and `"logs": {"<tenant>": <entry>, ...}, "recalled": [["<tenant>", <entry>], ...]` for all, of logs that were
//! appended to and of entries that were withdrawn. Who hears it asks the store, so that a notice causes a look and nothing else, whoever sent it. One about a
//! session that is lost is mended by the slow round, and by the next ack; one about acks by a look of the session itself; one about a message that ended
//! by the same look, if the device has it; one about a log by a look once a second.
//!
//! `"attendance": [["<tenant>", "<group>"], ...]` says that somebody has come to a room, or gone: who watches it looks, and does so every now and then in any case. A signal alone is carried itself,
//! `"signals": [{"process", "tenant", "group", "from", "kind", "data"}, ...]`, and one that is lost is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use broker_topology::Names;
use database::{StoreError, clock};
use messaging::connection::Link;
use messaging::notices::{self, Heard};
use messaging::publisher::Publisher;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Sessions;
use super::tenure::{DISPLACED, Identity};
use super::waiting::Waiting;
use crate::lane_message::SOURCE;
use crate::protocol::{Author, Close, Signal};
use crate::store::{Device, Number, Over, ProcessId, Session};

/// The `type` of the message.
pub const KIND: &str = "warren.devices.over";

/// Sessions, or messages, in one notice.
const TOGETHER: usize = 512;

/// Before a notice that could not be told is told again.
const REST: Duration = Duration::from_secs(1);

/// Those that wait to be told of; what comes beyond is left to the slow round.
const MOST: usize = 16_384;

/// The way to other processes, and from them.
pub struct Notices {
    /// To tell with.
    pub publisher: Publisher,
    /// To listen with.
    pub link: Link,
    /// Names on this broker. [`Names::notices`] must have been declared.
    pub names: Names,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Notice {
    over: Vec<(i64, i64, i64)>,
    #[serde(default)]
    ended: Vec<(i64, i64, Uuid)>,
    #[serde(default)]
    logs: BTreeMap<String, i64>,
    #[serde(default)]
    recalled: Vec<(String, i64)>,
    #[serde(default)]
    acked: Vec<(i64, i64)>,
    #[serde(default)]
    attendance: BTreeSet<(String, String)>,
    #[serde(default)]
    signals: Vec<Signalled>,
}

/// A signal on its way to other processes.
#[derive(Debug, Serialize, Deserialize)]
struct Signalled {
    /// Which process says so: it has told its own.
    process: i64,
    tenant: String,
    group: String,
    from: Option<Author>,
    kind: String,
    data: Option<String>,
}

impl Notice {
    fn of(told: Vec<Told>, me: ProcessId) -> Self {
        let mut notice = Self::default();
        for told in told {
            match told {
                Told::Over(process, device, fence) => notice.over.push((process.0, device.0, fence)),
                Told::Ended(process, device, message) => notice.ended.push((process.0, device.0, message)),
                Told::Logged(tenant, entry) => drop(notice.logs.insert(tenant, entry)),
                Told::Recalled(tenant, entry) => notice.recalled.push((tenant, entry)),
                Told::Acked(process, device) => notice.acked.push((process.0, device.0)),
                Told::Attendance(tenant, group) => drop(notice.attendance.insert((tenant, group))),
                Told::Signal(tenant, signal) => {
                    let Signal { group, from, kind, data } = Arc::unwrap_or_clone(signal);
                    notice.signals.push(Signalled { process: me.0, tenant, group, from, kind, data });
                }
            }
        }
        notice
    }
}

enum Told {
    Over(ProcessId, Number, i64),
    Ended(ProcessId, Number, Uuid),
    Logged(String, i64),
    Recalled(String, i64),
    Acked(ProcessId, Number),
    Attendance(String, String),
    Signal(String, Arc<Signal>),
}

/// What processes of other sessions are to look at.
#[derive(Default)]
pub(super) struct Telling(Waiting<Told>);

impl Telling {
    pub(super) fn over(&self, process: ProcessId, device: Number, fence: i64) {
        self.put(Told::Over(process, device, fence));
    }

    pub(super) fn withdrawn(&self, process: ProcessId, device: Number, message: Uuid) {
        self.put(Told::Ended(process, device, message));
    }

    pub(super) fn logged(&self, tenant: &str, entry: i64) {
        self.put(Told::Logged(tenant.to_owned(), entry));
    }

    pub(super) fn recalled(&self, tenant: &str, entry: i64) {
        self.put(Told::Recalled(tenant.to_owned(), entry));
    }

    pub(super) fn acked(&self, process: ProcessId, device: Number) {
        self.put(Told::Acked(process, device));
    }

    pub(super) fn attendance(&self, tenant: &str, group: &str) {
        self.put(Told::Attendance(tenant.to_owned(), group.to_owned()));
    }

    /// What is worth nothing a moment later takes no place from what is.
    pub(super) fn signal(&self, tenant: &str, signal: Arc<Signal>) {
        if self.0.len() >= MOST / 8 {
            return;
        }
        self.put(Told::Signal(tenant.to_owned(), signal));
    }

    fn put(&self, told: Told) {
        if self.0.len() < MOST {
            self.0.put(told);
        }
    }
}

impl Sessions {
    fn hear(&self, notice: &[u8]) {
        match serde_json::from_slice::<Notice>(notice) {
            Ok(notice) => {
                let mine = notice.over.into_iter().filter(|(process, ..)| *process == self.0.me.0);
                mine.for_each(|(_, device, fence)| self.suspect(Number(device), fence));
                let mine = notice.ended.into_iter().filter(|(process, ..)| *process == self.0.me.0);
                mine.for_each(|(_, device, message)| self.has_ended(Number(device), message));
                notice.logs.iter().for_each(|(tenant, entry)| self.0.log.reaches(tenant, *entry));
                notice.recalled.iter().for_each(|(tenant, entry)| self.0.log.recall(tenant, *entry));
                let mine = notice.acked.into_iter().filter(|(process, _)| *process == self.0.me.0);
                mine.for_each(|(_, device)| self.has_acked(Number(device)));
                let changed = notice.attendance.iter();
                changed.for_each(|(tenant, group)| self.0.watched.changed(tenant, std::iter::once(group.as_str())));
                let others = notice.signals.into_iter().filter(|signal| signal.process != self.0.me.0);
                for Signalled { tenant, group, from, kind, data, .. } in others {
                    self.0.watched.signal(&tenant, None, &Arc::new(Signal { group, from, kind, data }));
                }
            }
            Err(error) => tracing::debug!(error = %error, "a notice about sessions cannot be read"),
        }
    }

    /// Ends the session of a device as it is now, wherever it is; whether it was still the device's. The device may come back.
    pub(crate) async fn release_of(&self, device: &Device, session: &Session) -> Result<bool, StoreError> {
        let released = self.0.stores.sessions.release(&[(device.number, session.fence)], clock::now()).await?;
        let was = released == [true];
        if was {
            // The process that has it finds that it is released, and leaves this to us.
            self.tell(&Identity::of(device), session.id, session.transport, false);
        }
        self.put_out_session(device.number, session);
        Ok(was)
    }

    /// What the drain waits for.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Says that receipts may have been written.
    pub(crate) fn receipts_written(&self) {
        if let Some(outlet) = &self.0.outlet {
            outlet.written();
        }
    }

    /// Has the store say whether a session is over, wherever it is; one that is not looks for what it has to get.
    pub(crate) fn put_out_session(&self, device: Number, session: &Session) {
        if session.process == self.0.me {
            self.suspect(device, session.fence);
        } else {
            self.0.telling.over(session.process, device, session.fence);
        }
    }

    fn suspect(&self, device: Number, fence: i64) {
        // Only of those that are here: so it is bounded by them, and a stranger's notices cost a look at a map.
        if self.0.live.get(device).is_some_and(|entry| entry.fence <= fence) && self.0.suspects.len() < MOST {
            self.0.suspects.put(device);
        }
    }

    /// Looks at suspects, until `over`.
    pub(super) async fn looks(self, over: CancellationToken) {
        while let Some(suspects) = self.0.suspects.take(TOGETHER, &over).await {
            let sessions: Vec<(Number, i64)> =
                suspects.into_iter().filter_map(|device| self.0.live.get(device).map(|entry| (device, entry.fence))).collect();
            self.end_over(&sessions).await;
            // Those that are not over may have lost what they had to get, or have come into a group.
            let live: Vec<_> = sessions.iter().filter_map(|(device, _)| Some((*device, self.0.live.get(*device)?))).collect();
            live.iter().for_each(|(_, entry)| entry.post.look());
            self.look_at_tags(&live).await;
        }
    }

    /// Ends those of these sessions that are over.
    pub(super) async fn end_over(&self, sessions: &[(Number, i64)]) {
        if sessions.is_empty() {
            return;
        }
        let fences: BTreeMap<Number, i64> = sessions.iter().copied().collect();
        match self.0.stores.sessions.over(sessions).await {
            Ok(found) => {
                for (device, why) in found {
                    let (close, why) = match why {
                        Over::Displaced => (Close::Displaced, DISPLACED),
                        Over::Revoked => (Close::DeviceRevoked, "the device was revoked"),
                        Over::Removed => (Close::DeviceUnknown, "the device was removed: register it again"),
                        Over::Released => {
                            (Close::Ended, "an operator ended the session, or this process counted as gone: come back")
                        }
                    };
                    let fence = fences.get(&device).copied().unwrap_or(0);
                    self.0.live.end(device, fence, close, why);
                }
            }
            Err(error) => tracing::debug!(error = %error, "cannot look whether sessions are over; a later round does"),
        }
    }

    /// Tells other processes, until `over`.
    pub(super) async fn tells(self, publisher: Publisher, names: Names, over: CancellationToken) {
        while let Some(told) = self.0.telling.0.take(TOGETHER, &over).await {
            let notice = Notice::of(told, self.0.me);
            if let Err(error) = notices::tell(&publisher, &names, KIND, SOURCE, &notice).await {
                tracing::debug!(error = %error, "the slow round finds the sessions that are over");
                // No round finds entries that were withdrawn: these are told until somebody hears, or this process leaves.
                if !notice.recalled.is_empty() && !over.is_cancelled() {
                    notice.recalled.iter().for_each(|(tenant, entry)| self.0.telling.recalled(tenant, *entry));
                    tokio::select! {
                        () = tokio::time::sleep(REST) => {}
                        () = over.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Takes what there is to tell, where nobody is told.
    pub(super) async fn tells_nobody(self, over: CancellationToken) {
        while self.0.telling.0.take(TOGETHER, &over).await.is_some() {}
    }

    /// Listens, until `over`.
    pub(super) async fn listens(self, link: Link, names: Names, over: CancellationToken) {
        let (sender, mut heard) = mpsc::channel(64);
        let hearing = async {
            while let Some(heard) = heard.recv().await {
                match heard {
                    Heard::Notice(body) => self.hear(&body),
                    // What was withdrawn meanwhile nobody says again.
                    Heard::Open => self.0.log.forget(),
                    Heard::Lost => {}
                }
            }
        };
        tokio::join!(notices::listen_to(KIND, link, names, sender, over), hearing);
    }
}
