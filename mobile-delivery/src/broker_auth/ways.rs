//! The way of messages to a device that the broker serves.
//!
//! ```text
//! AMQP  the hub declares its queue, which is never taken away while the device is registered: its lane is hot from the first
//! MQTT  the plugin makes the queue of a session, binds it to the topic that the device subscribes to, and takes it away by its own rules
//!         "may it read that topic?" -- a moment later it does --> hot: what waits is relayed to the topic
//!         a message comes back: nobody is subscribed --> cold, until the question comes again
//! ```
//!
//! Nothing is declared or bound for MQTT. The plugin refuses a queue with other arguments than its own, and since 4.0 that of a session that ends with
//! its connection is exclusive: nobody else could bind it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::clock;
use messaging::devices::{LaneError, Lanes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lane::lane_of;
use crate::relay::Wake;
use crate::store::{Device, MAIN, Number, Placed, StoreError, Stores};

/// The broker asks before it binds: so long after, one after the other, the lane is made hot. Where it is, nothing is done.
const AFTER: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];

/// Devices that this is done for at one time. What comes beyond is hot when its device subscribes again.
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
    /// Those that have subscribed just now.
    fresh: Mutex<HashSet<Number>>,
}

impl Ways {
    pub(super) fn new(stores: Stores, lanes: Lanes, wake: Wake, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner { stores, lanes, wake, tasks, stop, fresh: Mutex::default() }))
    }

    /// Makes sure that the queue of a device is there that comes over AMQP.
    pub(super) async fn queue(&self, device: &Device) -> Result<(), LaneError> {
        self.0.lanes.ensure(lane_of(device)).await
    }

    /// Has what waits for a device relayed, since it subscribes over MQTT in a moment.
    pub(super) fn warm_soon(&self, device: Number) {
        {
            let mut fresh = self.0.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh.len() >= MOST || !fresh.insert(device) {
                return;
            }
        }
        let ways = self.clone();
        self.0.tasks.spawn(async move {
            let warming = async {
                for after in AFTER {
                    tokio::time::sleep(after).await;
                    if let Err(error) = ways.warm(device).await {
                        tracing::warn!(error = %error, device = device.0, "cannot say that a device has subscribed");
                    }
                }
            };
            tokio::select! {
                () = ways.0.stop.cancelled() => {}
                () = warming => {}
            }
            ways.0.fresh.lock().unwrap_or_else(PoisonError::into_inner).remove(&device);
        });
    }

    async fn warm(&self, device: Number) -> Result<(), StoreError> {
        if self.0.stores.lanes.warm(device, MAIN, None, clock::now()).await?.is_some() {
            self.0.wake.placed(&[Placed { device, seq: 0, expires_at: None }]);
        }
        Ok(())
    }
}
