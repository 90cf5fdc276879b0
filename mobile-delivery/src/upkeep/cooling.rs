//! Cooling: a device that nobody was connected as for long loses its queue. Its rows stay, and it gets a queue again when it comes.
//!
//! ```text
//! hot --cool--> cooling: nothing is relayed --retire: confirms awaited, unbound, drained, deleted--> gone --cooled--> cold
//!                  |                                                                                  |
//!                  '----------------- somebody connects: warm, a newer turn ----- declared again <----'
//! ```
//!
//! Each step may be repeated, by another process too: what was left half-way is found by its temperature and ended. Whoever connects
//! meanwhile wins, since the turn has changed; a queue that lost its bindings or was deleted under a session is declared again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use database::clock;
use futures::StreamExt;
use messaging::devices::{Lane, LaneError, Lanes};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Metrics, Upkeep, UpkeepOptions};
use crate::lane::{lane_of, queue_of};
use crate::processes::Processes;
use crate::relay::Wake;
use crate::store::{Device, Idle, Number, StoreError, Stores, Temperature, Turned};

/// Between two looks for idle devices.
const LOOK: Duration = Duration::from_secs(2);

/// Lanes in one look, beside those that are put off.
const BATCH: usize = 256;

/// How many of those that could not be cooled are remembered, to be left alone.
const OFF_AT_MOST: usize = 4096;

pub(super) struct Cooling {
    stores: Stores,
    processes: Arc<Processes>,
    lanes: Lanes,
    wake: Wake,
    metrics: Arc<Metrics>,
    options: UpkeepOptions,
    off: Mutex<HashMap<Number, Instant>>,
}

/// What became of a lane that was to go.
enum Cooled {
    /// It is gone.
    Cold,
    /// Somebody has come first.
    CameBack,
    /// Somebody consumes from the queue, or publishes to it.
    InUse,
    /// Not now.
    Failed(String),
}

impl Cooling {
    pub(super) fn new(upkeep: &Upkeep) -> Self {
        let Upkeep { stores, processes, lanes, wake, metrics, options, .. } = upkeep;
        let (stores, lanes, wake, options) = (stores.clone(), lanes.clone(), wake.clone(), options.clone());
        let (processes, metrics) = (processes.clone(), metrics.clone());
        Self { stores, processes, lanes, wake, metrics, options, off: Mutex::default() }
    }

    pub(super) async fn run(&self) {
        let mut tick = interval(LOOK.min(self.options.every.max(Duration::from_millis(10))));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.wake.is_cooling() => {}
            }
            if !self.processes.leads() {
                continue;
            }
            match self.found().await {
                Ok(found) => self.cool_all(found).await,
                Err(error) => tracing::warn!(error = %error, "cannot see which devices are idle"),
            }
        }
    }

    /// Lanes that are to go: those half-way first, then those that were idle longest.
    async fn found(&self) -> Result<Vec<Idle>, StoreError> {
        let off = {
            let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
            off.retain(|_, until| *until > Instant::now());
            off.clone()
        };
        let limit = u32::try_from(BATCH + off.len()).unwrap_or(u32::MAX);
        let idle_for = i64::try_from(self.options.cool_after.as_micros()).unwrap_or(i64::MAX);
        let mut found = self.stores.lanes.cooling(limit).await?;
        let idle = self.stores.lanes.idle(clock::now().saturating_sub(idle_for), limit).await?;
        found.extend(idle.into_iter().filter(|idle| idle.temperature == Temperature::Hot));
        found.retain(|idle| !off.contains_key(&idle.device));
        Ok(found)
    }

    async fn cool_all(&self, found: Vec<Idle>) {
        let mut pace = interval(Duration::from_secs(1) / self.options.cool_per_second.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let paced = futures::stream::unfold((found.into_iter(), pace), |(mut found, mut pace)| async {
            let idle = found.next()?;
            pace.tick().await;
            Some((idle, (found, pace)))
        });
        let one = |idle: Idle| async move {
            let cooled = self.cool(&idle).await.unwrap_or_else(|error| Cooled::Failed(error.to_string()));
            let result = match cooled {
                Cooled::Cold => "cold",
                Cooled::CameBack => "came-back",
                Cooled::InUse => "in-use",
                Cooled::Failed(why) => {
                    tracing::warn!(
                        why,
                        device = idle.device.0,
                        "cannot take the queue of an idle device away; it is tried again"
                    );
                    "failed"
                }
            };
            self.metrics.cooled.with_label_values(&[result]).inc();
            if matches!(result, "in-use" | "failed") {
                let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
                if off.len() < OFF_AT_MOST {
                    off.insert(idle.device, Instant::now() + self.options.cool_again);
                }
            }
        };
        paced.map(one).buffer_unordered(self.options.cool_together.max(1)).collect::<()>().await;
    }

    async fn cool(&self, idle: &Idle) -> Result<Cooled, StoreError> {
        let store = &self.stores.lanes;
        let turn = match idle.temperature {
            Temperature::Cooling => idle.turn,
            _ => match store.cool(idle.device, idle.turn, clock::now()).await? {
                Turned::Done { turn } => turn,
                Turned::No => return Ok(Cooled::CameBack),
            },
        };
        let device = self.device(idle).await?;
        // A removed device has lost its row, and with it what led to it but its own key; the rest goes with the queue.
        let lane = device.as_ref().map_or_else(|| Lane::of(queue_of(idle.device, idle.tier)), lane_of);
        match self.lanes.retire(&lane).await {
            Ok(_) => match store.cooled(idle.device, turn).await? {
                Turned::Done { .. } => Ok(Cooled::Cold),
                Turned::No => {
                    self.declare_again(idle).await?;
                    Ok(Cooled::CameBack)
                }
            },
            Err(LaneError::InUse { .. }) => {
                self.declare_again(idle).await?;
                Ok(Cooled::InUse)
            }
            Err(error) => Ok(Cooled::Failed(error.to_string())),
        }
    }

    async fn device(&self, idle: &Idle) -> Result<Option<Device>, StoreError> {
        let found = self.stores.devices.get(&idle.tenant, &idle.id).await?;
        Ok(found.filter(|found| found.number == idle.device))
    }

    /// Somebody has come whose queue may have been taken away, or its bindings.
    async fn declare_again(&self, idle: &Idle) -> Result<(), StoreError> {
        let Some(device) = self.device(idle).await?.filter(|device| device.temperature == Temperature::Hot) else {
            return Ok(());
        };
        if let Err(error) = self.lanes.ensure(lane_of(&device)).await {
            tracing::warn!(error = %error, device = idle.device.0, "cannot declare the queue of a device again that came back");
        }
        Ok(())
    }
}
