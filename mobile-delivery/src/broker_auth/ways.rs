//! The way of messages to a device that the broker serves.
//!
//! ```text
//! AMQP  the hub declares its queue, which is never taken away while the device is registered: it is hot from the first
//! MQTT  the plugin makes the queue of a session when the device subscribes, and takes it away by its own rules
//!         "may it configure that queue?" -- bound as soon as it is there --> hot: what waits is relayed
//!         a message comes back: bound again; if there is no such queue, cold until the device subscribes again
//! ```
//!
//! The queue of an MQTT session must not be declared by anybody but the plugin, which refuses one with other arguments than its own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::clock;
use messaging::devices::{LaneError, Lanes};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rules::Known;
use crate::lane::lane_of;
use crate::relay::Wake;
use crate::store::{Device, Number, Placed, StoreError, Stores};

/// How long the queue of a session that subscribes is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// From one look for it to the next, growing.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// Sessions whose queues are waited for at one time. What comes beyond is bound when the device subscribes again.
const MOST: usize = 10_000;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Ways(Arc<Inner>);

struct Inner {
    stores: Stores,
    lanes: Lanes,
    wake: Wake,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Those that are waited for.
    waited: Mutex<HashSet<Number>>,
}

impl Ways {
    pub(super) fn new(stores: Stores, lanes: Lanes, wake: Wake, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner { stores, lanes, wake, tasks, stop, waited: Mutex::default() }))
    }

    /// Makes sure that the queue of a device is there that comes over AMQP.
    pub(super) async fn queue(&self, device: &Device) -> Result<(), LaneError> {
        self.0.lanes.ensure(lane_of(device)).await
    }

    /// Leads what is sent to a device into the queue of its MQTT session, once that is there.
    pub(super) fn lead_soon(&self, known: &Arc<Known>) {
        let number = known.number;
        {
            let mut waited = self.0.waited.lock().unwrap_or_else(PoisonError::into_inner);
            if waited.len() >= MOST || !waited.insert(number) {
                return;
            }
        }
        let (ways, known) = (self.clone(), known.clone());
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = ways.0.stop.cancelled() => {}
                () = ways.lead(&known) => {}
            }
            ways.0.waited.lock().unwrap_or_else(PoisonError::into_inner).remove(&known.number);
        });
    }

    async fn lead(&self, known: &Known) {
        let Some(queue) = &known.queue else { return };
        let (until, mut rest) = (Instant::now() + PATIENCE, FIRST);
        let device = known.number.0;
        while Instant::now() < until {
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(LONGEST);
            match self.0.lanes.lead(device.unsigned_abs(), queue).await {
                Ok(()) => match self.warm(known.number).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(error = %error, device, "cannot say that a device has subscribed"),
                },
                Err(LaneError::Gone { .. }) => {}
                Err(LaneError::Stopped) => return,
                Err(error) => tracing::warn!(error = %error, device, "cannot bind the queue of a device's MQTT session"),
            }
        }
        tracing::info!(device, "a device was about to subscribe and its queue did not come: it is bound when it subscribes again");
    }

    /// From now on its messages are relayed.
    async fn warm(&self, number: Number) -> Result<(), StoreError> {
        if self.0.stores.lanes.warm(number, clock::now()).await?.is_some() {
            self.0.wake.placed(&[Placed { device: number, seq: 0, expires_at: None }]);
        }
        Ok(())
    }
}
