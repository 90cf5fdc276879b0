//! The fragments that Warren itself declares: the core for jobs, one work queue per kind, one queue per subscriber.

use crate::argument::{
    AT_LEAST_ONCE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, DEAD_LETTER_STRATEGY, DELIVERY_LIMIT, MESSAGE_TTL, OVERFLOW,
    REJECT_PUBLISH,
};
use crate::binding::Binding;
use crate::exchange::{Exchange, ExchangeKind};
use crate::names::{Kind, Names, Rung};
use crate::priority::Priority;
use crate::queue::{Queue, QueueKind};
use crate::topology::Topology;

/// The owner of everything the hub declares for itself.
pub const HUB: &str = "hub";

/// How the owner of everything begins that a service declares for itself. What a configuration declares has no such owner
/// ([`crate::trespasses`]), so that no `--prune` of a configuration takes what a service of the same name lives by.
pub(crate) const SERVICE: &str = "service/";

/// The owner of what the service `name` declares for itself: `service/<name>`.
pub fn service_owner(name: &str) -> String {
    format!("{SERVICE}{name}")
}

/// The delivery limit of a queue that is worked on. Only a backstop: when a process dies, every message it had
/// prefetched counts as a failed delivery, so a small limit would dead-letter innocent ones.
pub const WORK_DELIVERY_LIMIT: i64 = 100;

/// The delivery limit of a queue where a message over the limit would be dropped, or leave a rung too early: as good
/// as none, and still stated, because brokers differ in what they do without.
pub const TERMINAL_DELIVERY_LIMIT: i64 = 1_000_000;

/// All that the hub needs for jobs and events: every fixed exchange, the rungs, and the queues the hub reads.
pub fn core(names: &Names) -> Topology {
    let exchange = |name, kind, description| Exchange::new(name, kind, HUB, description);
    let start = Topology::default()
        .exchange(exchange(names.jobs(), ExchangeKind::Direct, "jobs, by kind"))
        .exchange(exchange(names.events(), ExchangeKind::Topic, "events, by <domain>.<event>"))
        .exchange(exchange(names.notices(), ExchangeKind::Fanout, "wake-ups for every process of the hub"))
        .exchange(
            exchange(names.return_exchange(), ExchangeKind::Direct, "back to the queue of origin").with_alternate(names.lost()),
        )
        .exchange(exchange(names.dead(), ExchangeKind::Direct, "dead letters, by queue of origin").with_alternate(names.lost()))
        .and(returnable(names, &names.submit(), "jobs and device messages submitted by message"))
        .and(returnable(names, &names.results(), "outcomes reported by services and workers"))
        .and(inlet(names.lost(), ExchangeKind::Fanout, "messages whose queue of origin is gone"));
    Rung::ALL.into_iter().map(|each| rung(names, each)).fold(start, Topology::and)
}

/// The queue of one kind, bound to `warren.jobs` with the kind as key, and its dead letter queue.
pub fn work_queue(names: &Names, kind: &Kind, owner: &str) -> Topology {
    let queue = names.work_queue(kind);
    worked_queue(names, &queue, owner, &format!("jobs of kind {kind}")).binding(Binding::to_queue(
        names.jobs(),
        queue,
        kind.as_str(),
    ))
}

/// Where dead letters of a kind go whose jobs go to a queue that is not Warren's: the dead letter queue alone, under the key of the
/// [`work_queue`] that it has not.
pub fn dead_letters(names: &Names, kind: &Kind, owner: &str) -> Topology {
    let queue = names.work_queue(kind);
    let dead = names.dead_queue(&queue);
    Topology::default().queue(terminal(&dead, owner, &format!("dead letters of kind {kind}"))).binding(Binding::to_queue(
        names.dead(),
        dead,
        queue,
    ))
}

/// The queue of a kind's high jobs, beside the [`work_queue`] that must be there too: bound to `warren.jobs` with
/// `<kind>.high` as key. Its dead letters go to the dead letter queue of the work queue, with its own name as key.
pub fn high_queue(names: &Names, kind: &Kind, owner: &str) -> Topology {
    let queue = names.queue_of(kind, Priority::High);
    let dead = names.dead_queue(&names.work_queue(kind));
    returning(names, &queue, &dead, owner, &format!("jobs of kind {kind} that go first")).binding(Binding::to_queue(
        names.jobs(),
        queue,
        Priority::High.key(kind),
    ))
}

/// The queue of one event subscriber, bound to `warren.events` with each of `patterns`, and its dead letter queue.
///
/// `queue` is `<service>.<purpose>`, without the prefix of `names`.
pub fn subscriber(names: &Names, queue: &str, patterns: &[&str], owner: &str) -> Topology {
    let queue = names.on_broker(queue);
    patterns.iter().fold(worked_queue(names, &queue, owner, "events for a subscriber"), |topology, pattern| {
        topology.binding(Binding::to_queue(names.events(), &queue, *pattern))
    })
}

/// A queue that handlers work on: dead letters go to its own `.dead` queue, retries come back through `warren.return`.
/// It has no length limit, since a full target stops a whole rung for everybody.
fn worked_queue(names: &Names, queue: &str, owner: &str, description: &str) -> Topology {
    let dead = names.dead_queue(queue);
    returning(names, queue, &dead, owner, description).queue(terminal(&dead, owner, &format!("dead letters of {queue}")))
}

/// A queue that is worked on, without the queue `dead` that its dead letters go to.
fn returning(names: &Names, queue: &str, dead: &str, owner: &str, description: &str) -> Topology {
    Topology::default()
        .queue(
            dead_lettering(queue, owner, description, &names.dead())
                .with(DEAD_LETTER_KEY, queue)
                .with(DELIVERY_LIMIT, WORK_DELIVERY_LIMIT),
        )
        .binding(Binding::to_queue(names.return_exchange(), queue, queue))
        .binding(Binding::to_queue(names.dead(), dead, queue))
}

/// One delay: a fanout exchange that keeps the key, which is the queue of origin, and a queue where nobody consumes.
/// What expires goes to `warren.return` with that key, so there is no dead-letter routing key.
fn rung(names: &Names, rung: Rung) -> Topology {
    let name = names.retry(rung);
    let delay = i64::try_from(rung.delay().as_millis()).unwrap_or(i64::MAX);
    let description = format!("retries that wait {}", rung.name());
    Topology::default()
        .exchange(Exchange::new(&name, ExchangeKind::Fanout, HUB, &description))
        .queue(
            dead_lettering(&name, HUB, &description, &names.return_exchange())
                .with(MESSAGE_TTL, delay)
                // Only a look through the management UI counts as a delivery here.
                .with(DELIVERY_LIMIT, TERMINAL_DELIVERY_LIMIT),
        )
        .binding(Binding::to_queue(&name, &name, ""))
}

/// An exchange and the terminal queue of the same name. The key is that name too, unless the exchange is a fanout.
fn inlet(name: String, kind: ExchangeKind, description: &str) -> Topology {
    let key = if kind == ExchangeKind::Fanout { String::new() } else { name.clone() };
    Topology::default()
        .exchange(Exchange::new(&name, kind, HUB, description))
        .queue(terminal(&name, HUB, description))
        .binding(Binding::to_queue(&name, &name, key))
}

/// As [`inlet`], for what can be put back by a redrive after it was turned down.
fn returnable(names: &Names, name: &str, description: &str) -> Topology {
    inlet(name.to_owned(), ExchangeKind::Direct, description).binding(Binding::to_queue(names.return_exchange(), name, name))
}

/// A quorum queue that keeps a dead letter until its target has confirmed it.
fn dead_lettering(name: &str, owner: &str, description: &str, exchange: &str) -> Queue {
    Queue::new(name, QueueKind::Quorum, owner, description)
        .with(DEAD_LETTER_EXCHANGE, exchange)
        .with(DEAD_LETTER_STRATEGY, AT_LEAST_ONCE)
        .with(OVERFLOW, REJECT_PUBLISH)
}

/// A quorum queue where messages stay until the hub takes them.
pub(crate) fn terminal(name: &str, owner: &str, description: &str) -> Queue {
    Queue::new(name, QueueKind::Quorum, owner, description).with(DELIVERY_LIMIT, TERMINAL_DELIVERY_LIMIT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::Argument;

    fn names() -> Names {
        Names::new("acme.")
    }

    fn whole() -> Topology {
        let kind = Kind::parse("orders.place").unwrap();
        Topology::merge([
            core(&names()),
            work_queue(&names(), &kind, "orders"),
            subscriber(&names(), "billing.invoices", &["order.*", "refund.#"], "billing"),
        ])
        .unwrap()
    }

    #[test]
    fn the_core_is_valid_alone() {
        assert_eq!(core(&Names::default()).validate(), []);
        assert_eq!(whole().validate(), []);
    }

    #[test]
    fn a_work_queue_has_exactly_these_arguments() {
        let queue = whole().find_queue("acme.jobs.orders.place").unwrap().arguments();
        let expected: [(&str, Argument); 8] = [
            ("warren-description", "jobs of kind orders.place".into()),
            ("warren-owner", "orders".into()),
            ("x-dead-letter-exchange", "acme.warren.dead".into()),
            ("x-dead-letter-routing-key", "acme.jobs.orders.place".into()),
            ("x-dead-letter-strategy", "at-least-once".into()),
            ("x-delivery-limit", 100.into()),
            ("x-overflow", "reject-publish".into()),
            ("x-queue-type", "quorum".into()),
        ];
        assert_eq!(queue, expected.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn a_rung_keeps_the_key_and_leads_back() {
        let topology = whole();
        for rung in Rung::ALL {
            let name = names().retry(rung);
            let queue = topology.find_queue(&name).unwrap();
            assert_eq!(queue.text(DEAD_LETTER_EXCHANGE), Some("acme.warren.return"));
            assert!(!queue.has(DEAD_LETTER_KEY));
            assert_eq!(queue.arguments[MESSAGE_TTL].as_integer(), Some(rung.delay().as_millis() as i64));
            assert_eq!(topology.queues_for(&name, "acme.jobs.orders.place"), BTreeSet::from([name.as_str()]));
        }
    }

    #[test]
    fn messages_go_where_the_names_say() {
        let topology = whole();
        let goes =
            |exchange: &str, key: &str| topology.queues_for(exchange, key).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let work = "acme.jobs.orders.place";
        assert_eq!(goes(&names().jobs(), "orders.place"), [work]);
        assert_eq!(goes(&names().jobs(), "orders.cancel"), [""; 0]);
        assert_eq!(goes(&names().return_exchange(), work), [work]);
        assert_eq!(goes(&names().return_exchange(), "gone"), ["acme.warren.lost"]);
        assert_eq!(goes(&names().dead(), work), ["acme.jobs.orders.place.dead"]);
        assert_eq!(goes(&names().dead(), "gone"), ["acme.warren.lost"]);
        assert_eq!(goes(&names().events(), "order.placed"), ["acme.billing.invoices"]);
        assert_eq!(goes(&names().events(), "refund"), ["acme.billing.invoices"]);
        assert_eq!(goes(&names().dead(), "acme.billing.invoices"), ["acme.billing.invoices.dead"]);
        assert_eq!(goes(&names().submit(), &names().submit()), ["acme.warren.submit"]);
        assert_eq!(goes(&names().results(), &names().results()), ["acme.warren.results"]);
    }

    #[test]
    fn high_jobs_have_their_own_queue_and_share_the_dead_letters() {
        let kind = Kind::parse("orders.place").unwrap();
        let topology = Topology::merge([whole(), high_queue(&names(), &kind, "orders")]).unwrap();
        assert_eq!(topology.validate(), []);
        let goes = |exchange: &str, key: &str| Vec::from_iter(topology.queues_for(exchange, key).into_iter().map(str::to_owned));
        let high = "acme.jobs.orders.place.high";
        assert_eq!(names().queue_of(&kind, Priority::High), high);
        assert_eq!(goes(&names().jobs(), &Priority::High.key(&kind)), [high]);
        assert_eq!(goes(&names().jobs(), "orders.place"), ["acme.jobs.orders.place"]);
        assert_eq!(goes(&names().return_exchange(), high), [high]);
        assert_eq!(goes(&names().dead(), high), ["acme.jobs.orders.place.dead"]);
        assert!(topology.find_queue("acme.jobs.orders.place.high.dead").is_none());
        let (high, normal) = (topology.find_queue(high).unwrap(), topology.find_queue("acme.jobs.orders.place").unwrap());
        let differ = |name: &&String| high.arguments.get(*name) != normal.arguments.get(*name);
        assert_eq!(Vec::from_iter(high.arguments.keys().filter(differ)), [DEAD_LETTER_KEY], "and otherwise they are alike");
        assert!(!high_queue(&names(), &kind, "orders").and(core(&names())).validate().is_empty(), "never without its sister");
    }

    #[test]
    fn a_subscriber_may_not_take_the_queue_of_a_kind() {
        let kind = Kind::parse("orders").unwrap();
        let both = [work_queue(&names(), &kind, "orders"), subscriber(&names(), "jobs.orders", &["#"], "thief")];
        let violations = Topology::merge(both).unwrap_err();
        assert!(violations[0].message.contains("by orders and thief"), "{}", violations[0]);
    }
}
