//! What must fit together about exchanges and queues that are not Warren's.

use broker_topology::Names;

use crate::config::{AmqpCompletion, AmqpFormat, Config, KindConfig, Worker};

/// One kind, with `say` for its keys.
pub(super) fn target(config: &Config, kind: &KindConfig, say: &mut impl FnMut(&str, String)) {
    let Some(target) = &kind.amqp else { return };
    if kind.worker != Worker::Amqp {
        return say("amqp", "is of no use with this worker: write worker = \"amqp\", or remove it".to_owned());
    }
    if kind.priority.is_some() {
        let why = "needs a second queue, jobs.<kind>.high, which a kind with [kind.amqp] has not: remove one of the two";
        say("priority", why.to_owned());
    }
    if target.format == AmqpFormat::Raw && target.completion == AmqpCompletion::Report {
        let why = "is `report`, and a report names the epoch and the attempt, which a raw message does not carry: \
                   write completion = \"handoff\", or format = \"cloudevents\"";
        say("amqp.completion", why.to_owned());
    }
    let names = Names::new(&config.broker.prefix);
    let (own, work) = (names.on_broker("warren."), names.on_broker("jobs."));
    if target.exchange.starts_with(&own) {
        let why = "is Warren's own: name yours, or remove [kind.amqp] for a queue that Warren declares";
        say("amqp.exchange", format!("`{}` {why}", target.exchange));
    }
    if let Some(queue) = target.queue.as_ref().filter(|queue| queue.starts_with(&own) || queue.starts_with(&work)) {
        let why = "is called as Warren calls its own: name yours, or remove [kind.amqp] for a queue that Warren declares";
        say("amqp.queue", format!("`{queue}` {why}"));
    }
}
