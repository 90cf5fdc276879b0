//! The brokers that devices are spread over: connected, declared, and looked at before devices get queues there.
//!
//! Each beside the main one has what devices share and nothing else. Until its exchanges and policies were seen nothing is made there; its devices
//! go by rows, and nobody else waits.

use std::sync::Arc;

use messaging::connection::Link;
use messaging::devices::{Lanes, LanesOptions};
use mobile_delivery::processes::Processes;
use mobile_delivery::shards::{Shard, Shards};
use tokio::sync::watch;

use super::devices::{Ground, Work, once};
use super::{HubError, Wiring};
use super::{broker, device_policies};

/// Starts what each shard needs, beside the lanes at the `main` broker.
pub(super) fn start(
    wiring: &Wiring,
    ground: &Ground<'_>,
    main: Lanes,
    options: &LanesOptions,
    processes: &Arc<Processes>,
) -> Result<Shards, HubError> {
    let (config, names, wire) = (&wiring.config, &wiring.names, &wiring.metrics.messaging);
    if config.broker.shards.is_empty() {
        return Ok(main.into());
    }
    let (limits, manage, stages) = (config.devices.queue_limits(), config.topology.manage, ground.stages);
    let mut others = Vec::new();
    for shard in &config.broker.shards {
        let settings = config.broker.of_shard(shard);
        let at = Arc::new(broker::options(&settings).map_err(|why| HubError::Broker(format!("shard `{}`: {why}", shard.name)))?);
        let options = LanesOptions { shard: shard.name.clone(), ..options.clone() };
        let lanes = main.beside(&at, options, ground.links, &stages.links, wire);
        let looking = Link::start(at, format!("topology:{}", shard.name), ground.links, stages.links.clone(), wire.clone());
        let (declared, is_declared) = watch::channel(false);
        let (fits, unfit) = watch::channel(Some("what devices share there was not seen yet".to_owned()));
        let topology = mobile_delivery::topology(names, &limits);
        ground.intake.spawn(broker::declare(topology, manage, looking, declared, stages.drain.clone()));
        let name = shard.name.clone();
        let policies = device_policies::watch(name, settings, manage, names.clone(), limits, fits, stages.drain.clone());
        ground.intake.spawn(once(is_declared, Box::pin(policies) as Work));
        others.push(Shard { lanes, takes: !shard.drain, unfit });
        tracing::info!(shard = shard.name, drain = shard.drain, "devices are spread over one more broker");
    }
    Ok(Shards::new(main, others, processes.clone()))
}
