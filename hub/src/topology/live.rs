//! What a broker holds, asked of its management API by the cheapest of its answers: no statistics but the depths of queues, and of those
//! no more than "at least": see [`super::figures`].

use broker_topology::{Live, LiveBinding, LiveExchange, LivePolicy, LiveQueue, Names, Sight, Topology};
use messaging::apply::{self, ApplyError, Declare};
use messaging::connection::Link;

use crate::management::{Management, ManagementError};

/// Columns of exchanges.
const EXCHANGES: &str = "name,type,durable,auto_delete,internal,arguments";

/// Columns of queues. With them the broker leaves out the rest, which is most of the work.
const QUEUES: &str = "name,type,durable,auto_delete,exclusive,arguments,messages_ready,messages_unacknowledged,policy";

/// The same without their depths.
const SHAPES: &str = "name,type,durable,auto_delete,exclusive,arguments,policy";

/// Everything in the virtual host; and what could not be looked at, each a sentence.
///
/// # Errors
/// When the API is of no use. A user who may not see policies is told so in the second part.
pub(crate) async fn read(management: &Management) -> Result<(Live, Vec<String>), ManagementError> {
    let vhost = management.vhost();
    let cheap = [("disable_stats", "true"), ("enable_queue_totals", "true"), ("columns", QUEUES)];
    let (columns, paths) = ([("columns", EXCHANGES)], (["exchanges", vhost], ["queues", vhost], ["bindings", vhost]));
    let (policies, operators) = (["policies", vhost], ["operator-policies", vhost]);
    let (exchanges, queues, bindings, policies, operator_policies) = tokio::join!(
        management.get::<Vec<LiveExchange>>(&paths.0, &columns),
        management.get::<Vec<LiveQueue>>(&paths.1, &cheap),
        management.get::<Vec<LiveBinding>>(&paths.2, &[]),
        management.get::<Vec<LivePolicy>>(&policies, &[]),
        management.get::<Vec<LivePolicy>>(&operators, &[]),
    );
    let mut unseen = Vec::new();
    let live = Live {
        vhost: vhost.to_owned(),
        exchanges: exchanges?.into_iter().map(|exchange| (exchange.name.clone(), exchange)).collect(),
        queues: queues?.into_iter().map(|queue| (queue.name.clone(), queue)).collect(),
        bindings: bindings?,
        policies: permitted(policies, &mut unseen)?,
        operator_policies: permitted(operator_policies, &mut unseen)?,
        sight: Sight::Full,
    };
    Ok((live, unseen))
}

/// Everything but the queues of devices and their bindings, of which there may be hundreds of thousands; without depths of queues. For a
/// topology that serves devices: what these live by is part of it, whether or not one is there.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_shared(management: &Management, names: &Names) -> Result<Live, ManagementError> {
    let vhost = management.vhost();
    let (exchanges, queues) = (["exchanges", vhost], ["queues", vhost]);
    let columns = [("columns", EXCHANGES)];
    let others = names.queues_but_of_devices();
    let (policies, operators) = (["policies", vhost], ["operator-policies", vhost]);
    let (exchanges, queues, policies, operator_policies) = tokio::join!(
        management.get::<Vec<LiveExchange>>(&exchanges, &columns),
        management.matching::<LiveQueue>(&queues, &others, SHAPES),
        management.get::<Vec<LivePolicy>>(&policies, &[]),
        management.get::<Vec<LivePolicy>>(&operators, &[]),
    );
    let exchanges = exchanges?;
    let of_devices = [names.devices(), names.groups(), names.broadcast()];
    let mut bindings = Vec::new();
    for exchange in exchanges.iter().filter(|exchange| !exchange.name.is_empty() && !of_devices.contains(&exchange.name)) {
        // One that was there a moment ago.
        let found: Option<Vec<LiveBinding>> =
            management.find(&["exchanges", vhost, &exchange.name, "bindings", "source"]).await?;
        bindings.extend(found.into_iter().flatten());
    }
    let mut unseen = Vec::new();
    Ok(Live {
        vhost: vhost.to_owned(),
        exchanges: exchanges.into_iter().map(|exchange| (exchange.name.clone(), exchange)).collect(),
        queues: queues?.into_iter().map(|queue| (queue.name.clone(), queue)).collect(),
        bindings,
        policies: permitted(policies, &mut unseen)?,
        operator_policies: permitted(operator_policies, &mut unseen)?,
        sight: Sight::Full,
    })
}

fn permitted(
    found: Result<Vec<LivePolicy>, ManagementError>,
    unseen: &mut Vec<String>,
) -> Result<Option<Vec<LivePolicy>>, ManagementError> {
    match found {
        Err(error @ ManagementError::Forbidden { .. }) => {
            unseen.push(error.to_string());
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// What AMQP alone tells: which exchanges and queues of `desired` are there.
///
/// # Errors
/// When the broker does not answer, or does not let us look.
pub(crate) async fn glance(link: &Link, desired: &Topology) -> Result<Live, ApplyError> {
    let exchanges = desired.exchanges.iter().map(Declare::Exchange);
    let objects: Vec<Declare<'_>> = exchanges.chain(desired.queues.iter().map(Declare::Queue)).collect();
    let mut live = Live { sight: Sight::Existence, policies: None, operator_policies: None, ..Live::of(desired) };
    for missing in apply::missing(link, &objects).await? {
        match missing {
            Declare::Exchange(exchange) => drop(live.exchanges.remove(&exchange.name)),
            Declare::Queue(queue) => drop(live.queues.remove(&queue.name)),
            Declare::Binding(_) => {}
        }
    }
    Ok(live)
}
