//! Rendering for `rabbitmqctl import_definitions`, `load_definitions` and the management API.

use serde_json::{Value, json};

use crate::topology::Topology;

/// The definitions of `topology` in `vhost`, sorted: the same topology gives the same bytes, whatever order its
/// fragments came in. Users and permissions are left out, since they are the operator's: a blank node that loads this
/// file at boot makes no `guest`.
///
/// RabbitMQ 3.10 and later import it. An import adds, and sets policies; it removes nothing and changes no exchange or queue that exists.
pub fn definitions(topology: &Topology, vhost: &str) -> Value {
    // Keys stand in alphabetical order, so that serde_json's `preserve_order` would change nothing.
    let exchanges = topology.exchanges.iter().map(|exchange| {
        json!({
            "arguments": exchange.arguments(),
            "auto_delete": false,
            "durable": true,
            "internal": exchange.internal,
            "name": exchange.name,
            "type": exchange.kind.as_str(),
            "vhost": vhost,
        })
    });
    let queues = topology.queues.iter().map(|queue| {
        json!({
            "arguments": queue.arguments(),
            "auto_delete": false,
            "durable": true,
            "name": queue.name,
            "vhost": vhost,
        })
    });
    let bindings = topology.bindings.iter().map(|binding| {
        json!({
            "arguments": binding.arguments,
            "destination": binding.destination.name(),
            "destination_type": binding.destination.sort(),
            "routing_key": binding.key,
            "source": binding.source,
            "vhost": vhost,
        })
    });
    let policies = topology.policies.iter().map(|policy| {
        json!({
            "apply-to": policy.apply_to.as_str(),
            "definition": policy.definition,
            "name": policy.name,
            "pattern": policy.pattern,
            "priority": policy.priority,
            "vhost": vhost,
        })
    });
    json!({
        "bindings": bindings.collect::<Vec<_>>(),
        "exchanges": exchanges.collect::<Vec<_>>(),
        "policies": policies.collect::<Vec<_>>(),
        "queues": queues.collect::<Vec<_>>(),
        "vhosts": [{ "name": vhost }],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{ApplyTo, Argument, Binding, Exchange, ExchangeKind, Policy, Queue, QueueKind};

    #[test]
    fn every_field_in_its_place() {
        let topology = Topology::default()
            .exchange(Exchange::new("e", ExchangeKind::Topic, "hub", "events").with_alternate("rest"))
            .queue(Queue::new("q", QueueKind::Classic, "billing", "work").with("x-single-active-consumer", true))
            .binding(Binding::to_queue("e", "q", "order.*"))
            .policy(Policy {
                name: "p".to_owned(),
                pattern: "^q$".to_owned(),
                apply_to: ApplyTo::Queues,
                priority: 7,
                definition: [("message-ttl".to_owned(), Argument::Integer(60_000))].into(),
            });
        let expected = json!({
            "vhosts": [{ "name": "/" }],
            "exchanges": [{
                "name": "e", "vhost": "/", "type": "topic", "durable": true, "auto_delete": false, "internal": false,
                "arguments": { "alternate-exchange": "rest", "warren-owner": "hub", "warren-description": "events" },
            }],
            "queues": [{
                "name": "q", "vhost": "/", "durable": true, "auto_delete": false,
                "arguments": {
                    "x-queue-type": "classic", "x-single-active-consumer": true,
                    "warren-owner": "billing", "warren-description": "work",
                },
            }],
            "bindings": [{
                "source": "e", "vhost": "/", "destination": "q", "destination_type": "queue",
                "routing_key": "order.*", "arguments": {},
            }],
            "policies": [{
                "name": "p", "vhost": "/", "pattern": "^q$", "apply-to": "queues", "priority": 7,
                "definition": { "message-ttl": 60_000 },
            }],
        });
        assert_eq!(definitions(&topology, "/"), expected);
    }
}
