//! What a process does with messages for devices that are submitted by message, when it takes submissions and others serve devices.
//!
//! It stores them, and wakes those who relay. It is none of them: it does not count among those that share the devices. Sessions it tells nothing:
//! a message that another took the place of may still be given for a moment, and whoever serves devices looks for what is due.

use std::sync::Arc;

use database::writer::WriterOptions;
use messaging::connection::Link;
use messaging::publisher::Publisher;
use messaging::submission::Submit;
use mobile_delivery::relay::{self, Wake};
use mobile_delivery::sending::Sender;
use mobile_delivery::store::{StoreError, Stores};
use mobile_delivery::submissions::{NotServed, Submissions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::devices::{limits, once};
use super::{HubError, Wiring};

/// The rows of devices that others serve.
pub(crate) struct Elsewhere(Stores);

/// What it tells others with.
pub(super) struct Telling<'a> {
    pub(super) publisher: Publisher,
    pub(super) link: Link,
    pub(super) declared: watch::Receiver<bool>,
    pub(super) stop: CancellationToken,
    pub(super) outlet: &'a TaskTracker,
}

impl Elsewhere {
    pub(super) async fn open(database: &database::Database) -> Result<Self, StoreError> {
        Stores::on(database).await.map(Self)
    }

    pub(super) fn start(&self, wiring: &Wiring, telling: Telling<'_>) -> Result<Arc<dyn Submit>, HubError> {
        let Telling { publisher, link, declared, stop, outlet } = telling;
        let (wake, settings) = (Wake::default(), &wiring.config.devices);
        let notices = relay::Notices {
            wake: wake.clone(),
            processes: None,
            publisher,
            link,
            names: wiring.names.clone(),
            metrics: Arc::new(relay::Metrics::new(&wiring.registry)?),
        };
        outlet.spawn(once(declared, Box::pin(notices.run(stop))));
        // The writer ends by itself when the last message is told of.
        let (follow, writers) = (Arc::new(wake), TaskTracker::new());
        let sender = Sender::start(self.0.messages.clone(), limits(settings), WriterOptions::default(), follow, &writers);
        Ok(submissions(sender, settings.payload))
    }
}

/// Sends what is submitted by `sender`.
pub(super) fn submissions(sender: Sender, payload: u64) -> Arc<dyn Submit> {
    Arc::new(Submissions::new(sender, usize::try_from(payload).unwrap_or(usize::MAX)))
}

/// For a hub that serves no devices.
pub(super) fn not_served() -> Arc<dyn Submit> {
    Arc::new(NotServed)
}
