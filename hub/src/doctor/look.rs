//! Asks, and answers with a [`Snapshot`]. Every question has an end: 10 s over AMQP, 30 s for all queues over it, 30 s to
//! the store, a minute to the management API.

mod amqp;
mod certificates;
mod management;
mod store;

use broker_topology::{Names, warrens_queues};
use jiff::Timestamp;

use super::snapshot::{Amqp, Expected, Snapshot};
use crate::config::{Config, Role};
use crate::edge;
use crate::hub;
use crate::management::Management;

/// Everything at once, as far as one answer does not need another.
///
/// # Errors
/// When the configuration is of no use: a file of it cannot be read, or its topology breaks rules.
pub(super) async fn look(config: &Config) -> Result<Snapshot, String> {
    let topology = hub::topology(config).map_err(|violations| {
        let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
        format!("the topology breaks {} rules: {}", all.len(), all.join("; "))
    })?;
    let options = hub::broker::options(&config.broker)?;
    let names = Names::new(&config.broker.prefix);
    let client = Management::new(&config.broker)?;
    let keeps = async {
        match config.broker.is_shard {
            true => None,
            false => Some(store::look(&config.store).await),
        }
    };
    let (met, management, store) = tokio::join!(amqp::look(config, &options), management::look(&client, &names), keeps);
    let met = met.ok_or("broker.url names no broker: set it")?;
    // Less than the management API tells: what only that one knows stays unseen.
    let (mut queues, mut guest) = (None, None);
    if management.queues.is_err() && met.amqp.login.is_ok() {
        queues = Some(amqp::queues(options.clone(), &topology).await);
    }
    // On this machine it is let in as RabbitMQ comes.
    if !met.amqp.loopback && management.users.as_ref().map_or(true, |users| users.iter().any(|user| user.name == "guest")) {
        guest = met.knows_guest(&options).await;
    }
    let amqp = Amqp { queues, guest, ..met.amqp };
    let certificates = certificates::look(&config.broker, &amqp.at, met.certificate, &client).await;
    let user = config.broker.urls.first().map(|url| url.credentials().0).unwrap_or_default();
    let expected = Expected {
        vhost: config.broker.vhost_name(),
        user,
        warrens: warrens_queues(&topology).into_iter().map(str::to_owned).collect(),
        topology,
        lost: names.lost(),
        names,
        devices: config.devices.enabled,
        connections: config.listen.max_connections.into(),
        files: edge::files_for(config.listen.max_connections),
        keeper: config.roles.contains(&Role::Keeper) && !config.broker.is_shard,
        consumer_timeout: config.broker.consumer_timeout,
        heartbeat: config.broker.heartbeat,
    };
    let files = edge::most_files();
    Ok(Snapshot { at: Timestamp::now(), expected, amqp, management, certificates, store, files })
}
