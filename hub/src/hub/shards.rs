//! The brokers that devices are spread over: connected, declared, and looked at before devices get queues there.
//!
//! Each beside the main one has what devices share and nothing else. Until its exchanges and policies were seen nothing is made there; its devices
//! go by rows, and nobody else waits. What goes over the limits of queues there is taken, as it is at the main one.

use std::sync::Arc;

use messaging::connection::Link;
use messaging::devices::{Lanes, LanesOptions};
use mobile_delivery::processes::Processes;
use mobile_delivery::shards::{Shard, Shards};
use tokio::sync::watch;

use super::devices::{Ground, Work, once};
use super::{HubError, Wiring};
use super::{broker, device_policies};

/// The way to a shard beside the lanes.
#[derive(Clone)]
pub(crate) struct AtShard {
    pub(super) link: Link,
    /// Whether what devices share is there.
    pub(super) declared: watch::Receiver<bool>,
}

/// Starts what each shard needs, beside the lanes at the `main` broker.
pub(super) fn start(
    wiring: &Wiring,
    ground: &Ground<'_>,
    main: Lanes,
    options: &LanesOptions,
    processes: &Arc<Processes>,
) -> Result<(Shards, Vec<AtShard>), HubError> {
    let (config, names, wire) = (&wiring.config, &wiring.names, &wiring.metrics.messaging);
    if config.broker.shards.is_empty() {
        return Ok((main.into(), Vec::new()));
    }
    let (limits, manage, stages) = (config.devices.queue_limits(), config.topology.manage, ground.stages);
    let (mut others, mut ways) = (Vec::new(), Vec::new());
    for (shard, own) in config.broker.shards.iter().filter_map(|shard| Some((shard, config.of_shard(&shard.name)?))) {
        let topology = own.topology().map_err(HubError::Topology)?;
        let settings = own.broker;
        let at = Arc::new(broker::options(&settings).map_err(|why| HubError::Broker(format!("shard `{}`: {why}", shard.name)))?);
        let options = LanesOptions { shard: shard.name.clone(), ..options.clone() };
        let lanes = main.beside(&at, options, ground.links, &stages.links, wire);
        let looking = Link::start(at, format!("topology:{}", shard.name), ground.links, stages.links.clone(), wire.clone());
        let (declared, is_declared) = watch::channel(false);
        let (fits, unfit) = watch::channel(Some("what devices share there was not seen yet".to_owned()));
        ways.push(AtShard { link: looking.clone(), declared: is_declared.clone() });
        ground.intake.spawn(broker::declare(topology, manage, looking, declared, stages.drain.clone()));
        let name = shard.name.clone();
        let policies = device_policies::watch(name, settings, manage, names.clone(), limits, fits, stages.drain.clone());
        ground.intake.spawn(once(is_declared, Box::pin(policies) as Work));
        others.push(Shard { lanes, takes: !shard.drain, unfit });
        tracing::info!(shard = shard.name, drain = shard.drain, "devices are spread over one more broker");
    }
    Ok((Shards::new(main, others, processes.clone()), ways))
}
