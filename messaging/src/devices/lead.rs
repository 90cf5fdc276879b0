//! Leading what is sent to a device into a queue that somebody else has made: the MQTT plugin makes one for each of its sessions.

use broker_topology::Names;
use lapin::options::QueueBindOptions;
use lapin::types::FieldTable;

use super::refusal::{Failed, LaneError, short};
use super::scratch::Tries;
use super::{Inner, Lanes};

impl Lanes {
    /// Binds `queue`, which is there, to what is sent to the device of this number. Again: nothing changes.
    ///
    /// # Errors
    /// [`LaneError::Gone`] when there is no such queue; [`LaneError::Refused`], [`LaneError::Away`], [`LaneError::Unfit`], [`LaneError::Stopped`].
    pub async fn lead(&self, device: u64, queue: &str) -> Result<(), LaneError> {
        let inner = &self.inner;
        let leading = async {
            inner.pace.turn().await;
            let mut tries = Tries::new(format!("bind the queue `{queue}`"), inner.patience);
            loop {
                if let Some(led) = tries.once(inner.lead_once(device, queue)).await {
                    return led;
                }
            }
        };
        let led = tokio::select! {
            biased;
            () = inner.stop.cancelled() => Err(LaneError::Stopped),
            led = leading => led,
        };
        let result = match &led {
            Ok(()) => "led",
            Err(LaneError::Gone { .. }) => "gone",
            Err(LaneError::Away { .. }) => "away",
            Err(LaneError::Stopped) => return led,
            Err(_) => "refused",
        };
        inner.metrics.leads.with_label_values(&[result]).inc();
        led
    }
}

impl Inner {
    async fn lead_once(&self, device: u64, queue: &str) -> Result<(), Failed> {
        let (name, exchange) = (short(queue)?, short(&self.names.devices())?);
        let key = short(&Names::device_key(device))?;
        let channel = self.scratch.lease().await?;
        let bound = channel.queue_bind(name, exchange, key, QueueBindOptions::default(), FieldTable::default()).await;
        match bound.map_err(Failed::from) {
            Ok(()) => {
                channel.keep();
                Ok(())
            }
            Err(failed) if failed.is_not_found() => {
                let why = "nobody has made it yet, or it is gone".to_owned();
                Err(LaneError::Gone { queue: queue.to_owned(), why }.into())
            }
            Err(failed) => Err(failed),
        }
    }
}
