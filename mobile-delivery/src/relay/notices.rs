//! What the process that stored something tells the one that relays it: over `warren.notices`, at once, and together what comes while a
//! notice is on its way.
//!
//! A notice is JSON: `{"from": 7, "devices": [12, 15], "slots": 0}`; `slots` are those to be looked through, a bit each. Who may publish
//! to the exchange may cause looks into the store, and nothing else. One that is lost costs the time until the next look.

use std::sync::Arc;

use broker_topology::Names;
use messaging::connection::Link;
use messaging::notices::{self, Heard};
use messaging::publisher::Publisher;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::wake::Wake;
use crate::lane_message::SOURCE;
use crate::processes::Processes;

/// The `type` of the message.
pub const KIND: &str = "warren.devices.notice";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Notice {
    from: i64,
    devices: Vec<i64>,
    slots: u64,
}

/// A relay's way to those of other processes.
pub struct Notices {
    /// What is told, and who is woken.
    pub wake: Wake,
    /// Who lives; `None` in a process that relays nothing: it tells, and does not listen.
    pub processes: Option<Arc<Processes>>,
    /// To publish with; one of its own, since who may not publish notices loses its channel.
    pub publisher: Publisher,
    /// To listen with.
    pub link: Link,
    /// Names on this broker.
    pub names: Names,
    /// The metrics of the relay.
    pub metrics: Arc<Metrics>,
}

impl Notices {
    /// Tells and listens until `stop`. The exchange must have been declared.
    pub async fn run(self, stop: CancellationToken) {
        let listening = async {
            if let Some(processes) = &self.processes {
                let (sender, heard) = mpsc::channel(64);
                let listening = notices::listen_to(KIND, self.link.clone(), self.names.clone(), sender, stop.clone());
                tokio::join!(listening, self.hear(heard, processes.me().0));
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = async { tokio::join!(listening, self.tell()) } => {}
        }
    }

    async fn hear(&self, mut heard: mpsc::Receiver<Heard>, me: i64) {
        while let Some(heard) = heard.recv().await {
            match heard {
                Heard::Notice(body) => match serde_json::from_slice::<Notice>(&body) {
                    Ok(notice) if notice.from == me => {}
                    Ok(notice) => self.wake.heard(&notice.devices, notice.slots),
                    Err(error) => tracing::debug!(error = %error, "a notice about devices cannot be read"),
                },
                // Something may have been said before.
                Heard::Open => self.wake.heard(&[], u64::MAX),
                Heard::Lost => {}
            }
        }
    }

    async fn tell(&self) {
        loop {
            let woken = self.wake.next_there().await;
            if self.processes.as_ref().is_some_and(|processes| processes.count() == 1) {
                continue;
            }
            let devices = woken.devices.into_iter().map(|device| device.0).collect();
            // 0 is nobody's.
            let from = self.processes.as_ref().map_or(0, |processes| processes.me().0);
            let notice = Notice { from, devices, slots: woken.slots };
            let result = match notices::tell(&self.publisher, &self.names, KIND, SOURCE, &notice).await {
                Ok(()) => "told",
                Err(error) => {
                    tracing::debug!(error = %error, "these devices are found by the next look");
                    "lost"
                }
            };
            self.metrics.notices.with_label_values(&[result]).inc();
        }
    }
}
