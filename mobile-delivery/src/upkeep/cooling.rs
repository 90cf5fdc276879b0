//! Cooling: a device that nobody was connected as for long loses its queue. Its rows stay, and it gets a queue again when it comes.
//! So does one, however short it is away, whose queue is at a broker that is emptied.
//!
//! ```text
//! hot --cool--> cooling: nothing is relayed --retire: confirms awaited, unbound, drained, deleted--> gone --cooled--> cold
//!                  |                                                                                  |
//!                  '----------------- somebody connects: warm, a newer turn ----- declared again <----'
//! ```
//!
//! Each step may be repeated, by another process too: what was left half-way is found by its temperature and ended. Whoever connects
//! meanwhile wins, since the turn has changed; a queue that lost its bindings or was deleted under a session is declared again.
//!
//! A queue that a lane has left for another broker is nobody's, and goes the same way: retired, then forgotten. What is at a broker that is away, or that this
//! process does not have, waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use database::clock;
use futures::StreamExt;
use messaging::devices::{Lane, LaneError};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Metrics, Upkeep, UpkeepOptions};
use crate::lane::{lane_of, queue_of};
use crate::processes::Processes;
use crate::relay::Wake;
use crate::shards::Shards;
use crate::store::{Device, Idle, Left, Micros, Number, StoreError, Stores, Temperature, Turned};

/// Between two looks for idle devices.
const LOOK: Duration = Duration::from_secs(2);

/// Lanes in one look, beside those that are put off.
const BATCH: usize = 256;

/// How many of those that could not be cooled are remembered, to be left alone.
const OFF_AT_MOST: usize = 4096;

/// Between two looks at how far brokers are that are emptied, and where none is.
const TELL: Duration = Duration::from_secs(10);
const TELL_OTHERS: Duration = Duration::from_secs(60);

/// What is left at one is counted up to here.
const COUNTED: u32 = 10_000;

pub(super) struct Cooling {
    stores: Stores,
    processes: Arc<Processes>,
    shards: Shards,
    wake: Wake,
    metrics: Arc<Metrics>,
    options: UpkeepOptions,
    /// By device and broker.
    off: Mutex<HashMap<(Number, String), Instant>>,
}

/// What is to go.
enum Going {
    /// The lane of a device.
    Idle(Idle),
    /// A queue that is no lane any more.
    Left(Left),
}

impl Going {
    fn key(&self) -> (Number, String) {
        match self {
            Self::Idle(idle) => (idle.device, idle.shard.clone()),
            Self::Left(left) => (left.device, left.shard.clone()),
        }
    }
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
        let Upkeep { stores, processes, shards, wake, metrics, options, .. } = upkeep;
        let (stores, shards, wake, options) = (stores.clone(), shards.clone(), wake.clone(), options.clone());
        let (processes, metrics) = (processes.clone(), metrics.clone());
        Self { stores, processes, shards, wake, metrics, options, off: Mutex::default() }
    }

    pub(super) async fn run(&self) {
        let mut tick = interval(LOOK.min(self.options.every.max(Duration::from_millis(10))));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.wake.is_cooling() => {}
            }
            let shards: Vec<&str> = self.shards.up().into_iter().filter(|shard| self.processes.leads_at(shard)).collect();
            if shards.is_empty() {
                continue;
            }
            match self.found(&shards).await {
                Ok(found) => self.cool_all(found).await,
                Err(error) => tracing::warn!(error = %error, "cannot see which devices are idle"),
            }
        }
    }

    /// What is to go at these brokers: what is half-way first, then queues that were left, then lanes of brokers that are emptied, then those that were idle longest.
    async fn found(&self, shards: &[&str]) -> Result<Vec<Going>, StoreError> {
        let off = {
            let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
            off.retain(|_, until| *until > Instant::now());
            off.clone()
        };
        let limit = u32::try_from(BATCH + off.len()).unwrap_or(u32::MAX);
        let store = &self.stores.lanes;
        let mut found: Vec<Going> = store.cooling(shards, limit).await?.into_iter().map(Going::Idle).collect();
        found.extend(store.left(shards, ago(self.options.left_for), limit).await?.into_iter().map(Going::Left));
        for shard in self.shards.emptied().filter(|shard| shards.contains(shard)) {
            found.extend(store.vacant(shard, limit).await?.into_iter().map(Going::Idle));
        }
        let idle = store.idle(shards, ago(self.options.cool_after), limit).await?;
        found.extend(idle.into_iter().filter(|idle| idle.temperature == Temperature::Hot).map(Going::Idle));
        found.retain(|going| !off.contains_key(&going.key()));
        Ok(found)
    }

    async fn cool_all(&self, found: Vec<Going>) {
        let mut pace = interval(Duration::from_secs(1) / self.options.cool_per_second.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let paced = futures::stream::unfold((found.into_iter(), pace), |(mut found, mut pace)| async {
            let going = found.next()?;
            pace.tick().await;
            Some((going, (found, pace)))
        });
        let one = |going: Going| async move {
            let cooled = match &going {
                Going::Idle(idle) => self.cool(idle).await,
                Going::Left(left) => self.clear(left).await,
            };
            let result = match cooled.unwrap_or_else(|error| Cooled::Failed(error.to_string())) {
                Cooled::Cold => "cold",
                Cooled::CameBack => "came-back",
                Cooled::InUse => "in-use",
                Cooled::Failed(why) => {
                    let (device, shard) = going.key();
                    tracing::warn!(
                        why,
                        device = device.0,
                        shard,
                        "cannot take the queue of an idle device away; it is tried again"
                    );
                    "failed"
                }
            };
            self.metrics.cooled.with_label_values(&[result]).inc();
            if matches!(result, "in-use" | "failed") {
                let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
                if off.len() < OFF_AT_MOST {
                    off.insert(going.key(), Instant::now() + self.options.cool_again);
                }
            }
        };
        paced.map(one).buffer_unordered(self.options.cool_together.max(1)).collect::<()>().await;
    }

    async fn cool(&self, idle: &Idle) -> Result<Cooled, StoreError> {
        let store = &self.stores.lanes;
        let Some(lanes) = self.shards.lanes(&idle.shard) else { return Ok(Cooled::InUse) };
        let turn = match idle.temperature {
            Temperature::Cooling => idle.turn,
            _ => match store.cool(idle.device, idle.turn, clock::now()).await? {
                Turned::Done { turn } => turn,
                Turned::No => return Ok(Cooled::CameBack),
            },
        };
        let device = self.device(idle.device).await?;
        // A removed device has lost its row, and with it what led to it but its own key; the rest goes with the queue.
        let queue = queue_of(idle.device, idle.tier);
        let lane = device.as_ref().map_or_else(|| Lane::of(queue), |device| Lane { device: queue, ..lane_of(device) });
        match lanes.retire(&lane).await {
            Ok(_) => match store.cooled(idle.device, turn).await? {
                Turned::Done { .. } => Ok(Cooled::Cold),
                Turned::No => {
                    self.declare_again(idle.device, &idle.shard).await?;
                    Ok(Cooled::CameBack)
                }
            },
            Err(LaneError::InUse { .. }) => {
                self.declare_again(idle.device, &idle.shard).await?;
                Ok(Cooled::InUse)
            }
            Err(error) => Ok(Cooled::Failed(error.to_string())),
        }
    }

    /// Takes a queue away that a lane has left.
    async fn clear(&self, left: &Left) -> Result<Cooled, StoreError> {
        let Some(lanes) = self.shards.lanes(&left.shard) else { return Ok(Cooled::InUse) };
        let queue = queue_of(left.device, left.tier);
        let device = self.device(left.device).await?;
        let lane = device.as_ref().map_or_else(|| Lane::of(queue), |device| Lane { device: queue, ..lane_of(device) });
        match lanes.retire(&lane).await {
            Ok(_) => match self.stores.lanes.gone(left).await? {
                true => Ok(Cooled::Cold),
                false => {
                    self.declare_again(left.device, &left.shard).await?;
                    Ok(Cooled::CameBack)
                }
            },
            Err(LaneError::InUse { .. }) => {
                self.declare_again(left.device, &left.shard).await?;
                Ok(Cooled::InUse)
            }
            Err(error) => Ok(Cooled::Failed(error.to_string())),
        }
    }

    async fn device(&self, number: Number) -> Result<Option<Device>, StoreError> {
        self.stores.devices.numbered(number).await
    }

    /// Somebody has come whose queue at this broker may have been taken away, or its bindings.
    async fn declare_again(&self, device: Number, shard: &str) -> Result<(), StoreError> {
        let found = self.device(device).await?;
        let is_there = |found: &Device| found.temperature == Temperature::Hot && found.queue_shard == shard;
        let (Some(found), Ok(lanes)) = (found.filter(is_there), self.shards.open(shard)) else { return Ok(()) };
        if let Err(error) = lanes.ensure(lane_of(&found)).await {
            tracing::warn!(error = %error, device = device.0, shard, "cannot declare the queue of a device again that came back");
        }
        Ok(())
    }

    /// Tells what is left at brokers that are emptied, and at those that nobody has any more.
    pub(super) async fn tell(&self) {
        let emptied: Vec<&str> = self.shards.emptied().collect();
        let mut tick = interval(if emptied.is_empty() { TELL_OTHERS } else { TELL });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: HashMap<String, bool> = HashMap::new();
        loop {
            tick.tick().await;
            let mut left: BTreeMap<String, u32> = emptied.iter().map(|shard| ((*shard).to_owned(), 0)).collect();
            match self.stores.lanes.occupied(COUNTED).await {
                Ok(occupied) => left.extend(occupied.into_iter().filter(|(shard, _)| self.is_to_be_empty(shard))),
                Err(error) => {
                    tracing::warn!(error = %error, "cannot see what is left at brokers that are emptied");
                    continue;
                }
            }
            // One that was nobody's is empty, or somebody's again.
            told.keys().for_each(|shard| _ = left.entry(shard.clone()).or_default());
            for (shard, count) in left {
                self.metrics.left.with_label_values(&[&shard]).set(count.into());
                if told.insert(shard.clone(), count == 0) == Some(count == 0) {
                    continue;
                }
                match (count, emptied.contains(&shard.as_str())) {
                    (0, true) => {
                        tracing::info!(
                            shard,
                            "nothing of devices is left at this broker: it can be taken out of the configuration"
                        );
                    }
                    (_, true) | (0, false) => {}
                    (count, false) => tracing::warn!(
                        shard,
                        queues = count,
                        "queues of devices are left at a broker that no process has: put its [[broker.shard]] back, with drain = true"
                    ),
                }
            }
        }
    }

    fn is_to_be_empty(&self, shard: &str) -> bool {
        self.shards.emptied().any(|emptied| emptied == shard) || !self.processes.has(shard)
    }
}

fn ago(time: Duration) -> Micros {
    clock::now().saturating_sub(Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX))
}
