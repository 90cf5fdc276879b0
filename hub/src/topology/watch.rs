//! Drift, looked for while the hub runs, and shown as `warren_topology_drift`.
//!
//! One process of all looks, since a look lists everything in the virtual host, but queues of devices.
//!
//! Not part of `/health`: whoever changes the broker by hand does not make this process unable to work. The gauge is there for an alert.

use std::sync::Arc;
use std::time::Duration;

use api_ack::processes::Processes;
use broker_topology::{Drift, Names, Plan, Scope, Topology};
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::live;
use crate::config::Broker;
use crate::management::Management;

/// Less than this between two looks is a load on the broker, and tells nothing more.
const LEAST: Duration = Duration::from_secs(1);

/// A difference is looked at again after this before it is called one: another process may be about to declare it.
const AGAIN: Duration = Duration::from_secs(10);

/// The gauge.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    drift: IntGaugeVec,
}

impl Metrics {
    /// # Errors
    /// When `registry` has one of the names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let drift = IntGaugeVec::new(
            Opts::new(
                "warren_topology_drift",
                "differences between the broker and the topology, by kind; absent while it cannot be told",
            ),
            &["kind"],
        )?;
        registry.register(Box::new(drift.clone()))?;
        Ok(Self { drift })
    }

    /// A kind that could not be seen has no value.
    fn show(&self, drift: Drift) {
        for (kind, count) in drift.by_kind() {
            match count {
                Some(count) => self.drift.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX)),
                // An error only says that there was none.
                None => drop(self.drift.remove_label_values(&[kind])),
            }
        }
    }
}

/// Compares every `every`, once the topology is there and while `processes` has this one do what only one should, until `drain`.
pub(crate) async fn run(
    broker: Broker,
    topology: Topology,
    every: Duration,
    processes: Arc<Processes>,
    metrics: Metrics,
    mut declared: watch::Receiver<bool>,
    drain: CancellationToken,
) {
    let watching = async {
        if declared.wait_for(|declared| *declared).await.is_err() {
            return;
        }
        let management = match Management::new(&broker) {
            Ok(management) => management,
            Err(why) => return tracing::warn!(why, "drift of the topology is not looked for"),
        };
        let (scope, names) = (Scope::of(&topology, &broker.prefix), Names::new(&broker.prefix));
        let with_devices = topology.exchanges.iter().any(|exchange| exchange.name == names.devices());
        let mut ticks = tokio::time::interval(every.max(LEAST));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut blind, mut told, mut suspected) = (false, 0, 0);
        loop {
            ticks.tick().await;
            if !processes.leads() {
                metrics.drift.reset();
                continue;
            }
            let read = match with_devices {
                true => live::read_shared(&management, &names).await,
                false => live::read(&management).await.map(|(found, _)| found),
            };
            match read {
                Ok(found) => {
                    let drift = Plan::new(&topology, &found, &scope, false).drift();
                    metrics.show(drift);
                    let all: usize = drift.by_kind().iter().filter_map(|(_, count)| *count).sum();
                    if all > 0 && all != told && all != suspected {
                        ticks.reset_after(every.clamp(LEAST, AGAIN));
                    } else if all != told {
                        if all > 0 {
                            tracing::warn!(?drift, "the broker differs from the topology: `warren topology check` says in what");
                        }
                        told = all;
                    }
                    (blind, suspected) = (false, all);
                }
                Err(error) => {
                    metrics.drift.reset();
                    if !std::mem::replace(&mut blind, true) {
                        tracing::info!(error = %error, "drift of the topology cannot be seen, trying again every {every:?}");
                    }
                }
            }
        }
    };
    tokio::select! {
        () = drain.cancelled() => {}
        () = watching => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_seen_any_more_has_no_value() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let shown = || registry.gather().first().map_or(0, |family| family.get_metric().len());
        metrics.show(Drift { policy: Some(2), ..Drift::default() });
        assert_eq!(shown(), 4);
        for _ in 0..2 {
            metrics.show(Drift::default());
            assert_eq!(shown(), 3, "policies are not seen");
        }
    }
}
