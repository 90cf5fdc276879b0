//! What a team may declare beside Warren: its own names, and ways between them and the doors that Warren has for others.

use crate::argument::{ALTERNATE_EXCHANGE, Argument, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY};
use crate::binding::{Binding, Destination};
use crate::exchange::Exchange;
use crate::fragments::{HUB, SERVICE};
use crate::names::{Names, Rung};
use crate::object::Object;
use crate::policy::Policy;
use crate::queue::Queue;
use crate::topology::Topology;
use crate::violation::Violation;

/// How Warren begins the names of what it declares, `broker.prefix` aside.
const BEGINNINGS: [&str; 3] = ["warren.", "jobs.", "device."];
/// How it ends the name of a queue for dead letters.
const DEAD: &str = ".dead";

/// What of `own`, which is all that a team declares, is Warren's to declare. The other rules are those of the merged topology:
/// [`Topology::lint`].
pub fn trespasses(own: &Topology, names: &Names) -> Vec<Violation> {
    let mut found = Vec::new();
    for exchange in &own.exchanges {
        found.extend(name(exchange, names));
        found.extend(alternate(exchange, names));
    }
    for queue in &own.queues {
        found.extend(name(queue, names));
        found.extend(letters(queue, names));
    }
    found.extend(own.bindings.iter().filter_map(|binding| way(own, binding, names)));
    found.extend(own.policies.iter().flat_map(|policy| settings(policy, names)));
    found
}

fn name(object: &impl Object, names: &Names) -> Vec<Violation> {
    let mut found = Vec::new();
    let bare = object.name().strip_prefix(names.prefix()).unwrap_or(object.name());
    let begins = BEGINNINGS.into_iter().find(|beginning| bare.starts_with(beginning)).map(|word| format!("begins with `{word}`"));
    let taken = begins.or_else(|| bare.ends_with(DEAD).then(|| format!("ends with `{DEAD}`")));
    found.extend(taken.map(|how| {
        Violation::new("name-taken", object.label(), format!("{how}, as what Warren declares itself does"), "choose another name")
    }));
    let marks = match object.owner() {
        Some(HUB) => Some(format!("has the owner `{HUB}`, which marks what the hub declares for itself")),
        Some(owner) if owner.starts_with(SERVICE) => {
            Some(format!("has the owner `{owner}`, and `{SERVICE}` marks what services declare for themselves"))
        }
        _ => None,
    };
    if let Some(message) = marks {
        found.push(Violation::new("owner-taken", object.label(), message, "name the team or the service it belongs to"));
    }
    found
}

/// A binding that takes from Warren what is not meant for others, or gives it what it does not look for.
fn way(own: &Topology, binding: &Binding, names: &Names) -> Option<Violation> {
    let warrens = |name: &str| name.strip_prefix(names.prefix()).is_some_and(|bare| bare.starts_with(BEGINNINGS[0]));
    let source = binding.source.as_str();
    let is_own = |name: &str| own.find_queue(name).is_some();
    let refused = |message: String, remedy: &str| Some(Violation::new("binding-taken", binding, message, remedy));
    if (source == names.return_exchange() || source == names.dead()) && !is_own(&binding.key) {
        return refused(
            format!("takes from `{source}` what belongs to a queue that is not yours"),
            "name a queue of your own as its key",
        );
    }
    if warrens(source) && ![names.events(), names.return_exchange(), names.dead()].contains(&binding.source) {
        return refused(
            format!("takes from `{source}`, which is Warren's own"),
            &format!("bind to `{}`, where events of jobs are published, or to an exchange of your own", names.events()),
        );
    }
    let (sort, end) = (binding.destination.sort(), binding.destination.name());
    let door = match &binding.destination {
        Destination::Exchange(name) => *name == names.events() || *name == names.submit(),
        Destination::Queue(name) => *name == names.submit(),
    };
    if is_inside(end, names) && !door {
        return refused(
            format!("leads into {sort} `{end}`, past the store of Warren"),
            &format!("lead to `{}` to submit jobs, or to `{}` to tell of events", names.submit(), names.events()),
        );
    }
    None
}

/// Whether something of that name is Warren's to send to.
fn is_inside(name: &str, names: &Names) -> bool {
    let bare = name.strip_prefix(names.prefix()).unwrap_or(name);
    BEGINNINGS.into_iter().any(|beginning| bare.starts_with(beginning)) || bare.ends_with(DEAD)
}

/// Why what `exchange` does not route may not go where it goes.
fn alternate(exchange: &Exchange, names: &Names) -> Option<Violation> {
    let target = exchange.alternate.as_deref()?;
    leads(exchange.label(), "what it does not route", target, None, names)
}

/// Why the dead letters of `queue` may not go where they go.
fn letters(queue: &Queue, names: &Names) -> Option<Violation> {
    let text = |argument: &str| queue.arguments.get(argument).and_then(Argument::as_text);
    leads(queue.label(), "its dead letters", text(DEAD_LETTER_EXCHANGE)?, text(DEAD_LETTER_KEY), names)
}

/// The same of what a policy sets.
fn settings(policy: &Policy, names: &Names) -> Vec<Violation> {
    let text = |setting: &str| policy.definition.get(setting).and_then(Argument::as_text);
    let key = text("dead-letter-routing-key");
    // A key alone is for an exchange that only the queue knows.
    let exchange = text("dead-letter-exchange").or_else(|| key.map(|_| ""));
    let letters = exchange.and_then(|exchange| leads(policy.label(), "dead letters", exchange, key, names));
    let alternate = text(ALTERNATE_EXCHANGE).and_then(|target| leads(policy.label(), "what is not routed", target, None, names));
    letters.into_iter().chain(alternate).collect()
}

/// A way of `object` other than a binding, to `exchange` with `key` if it states one, that gives Warren what it does not look for. What dies
/// may wait in a rung, come back, be kept with Warren's dead letters, or be told or submitted, as long as no queue of Warren's is its key.
fn leads(object: String, what: &str, exchange: &str, key: Option<&str>, names: &Names) -> Option<Violation> {
    let rung = Rung::ALL.into_iter().any(|rung| names.retry(rung) == exchange);
    let by_name = exchange.is_empty() || rung || exchange == names.return_exchange() || exchange == names.dead();
    let door = by_name || exchange == names.events() || exchange == names.submit();
    let refused = |sort: &str, end: &str| {
        let message = format!("leads {what} into {sort} `{end}`, past the store of Warren");
        let remedy = format!(
            "lead to a queue of your own, to `{}` to submit jobs, or to `{}` to tell of events",
            names.submit(),
            names.events()
        );
        Some(Violation::new("target-taken", object.clone(), message, remedy))
    };
    if is_inside(exchange, names) && !door {
        return refused("exchange", exchange);
    }
    let queue = key.filter(|key| by_name && is_inside(key, names) && *key != names.submit())?;
    refused("queue", queue)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::validate::tests::listed;
    use crate::{Exchange, ExchangeKind, Queue, QueueKind};

    fn names() -> Names {
        Names::new("acme.")
    }

    fn codes(own: &Topology) -> Vec<&'static str> {
        trespasses(own, &names()).into_iter().map(|violation| listed(violation.code)).collect()
    }

    fn queue(name: &str, owner: &str) -> Topology {
        Topology::default().queue(Queue::new(name, QueueKind::Quorum, owner, "x"))
    }

    #[test]
    fn names_that_warren_gives_are_its_own() {
        for taken in ["acme.warren.x", "acme.jobs.orders", "acme.device.hot.1", "acme.orders.dead", "warren.x", "jobs.x"] {
            assert_eq!(codes(&queue(taken, "team")), ["name-taken"], "{taken}");
            let exchange = Exchange::new(taken, ExchangeKind::Topic, "team", "x");
            assert_eq!(codes(&Topology::default().exchange(exchange)), ["name-taken"], "{taken}");
        }
        for free in ["acme.warrens", "acme.job", "acme.orders", "acme.dead.letters"] {
            assert_eq!(codes(&queue(free, "team")), [""; 0], "{free}");
        }
        for owner in [HUB, &crate::service_owner("billing")] {
            assert_eq!(codes(&queue("acme.orders", owner)), ["owner-taken"], "{owner}");
        }
        assert_eq!(codes(&queue("acme.orders", "services")), [""; 0]);
    }

    #[test]
    fn bindings_use_the_doors_that_warren_has_for_others() {
        let bound = |binding: Binding| codes(&queue("acme.q", "team").binding(binding));
        let names = names();
        for source in [names.jobs(), names.submit(), names.results(), names.notices(), names.lost(), names.retry(crate::Rung::S1)]
        {
            assert_eq!(bound(Binding::to_queue(source, "acme.q", "k")), ["binding-taken"]);
        }
        for source in [names.return_exchange(), names.dead()] {
            assert_eq!(bound(Binding::to_queue(&source, "acme.q", "acme.q")), [""; 0]);
            assert_eq!(bound(Binding::to_queue(&source, "acme.q", "acme.jobs.orders")), ["binding-taken"]);
        }
        assert_eq!(bound(Binding::to_queue(names.events(), "acme.q", "order.*")), [""; 0]);
        assert_eq!(bound(Binding::to_queue("amq.topic", "acme.q", "k")), [""; 0]);
        for to in ["acme.jobs.orders", "acme.jobs.orders.dead", "acme.warren.results", "acme.billing.dead"] {
            assert_eq!(bound(Binding::to_queue("acme.e", to, "k")), ["binding-taken"], "{to}");
        }
        assert_eq!(bound(Binding::to_queue("acme.e", names.submit(), "k")), [""; 0]);
        for to in [names.events(), names.submit()] {
            assert_eq!(bound(Binding::to_exchange("acme.e", to, "k")), [""; 0]);
        }
        assert_eq!(bound(Binding::to_exchange("acme.e", names.jobs(), "k")), ["binding-taken"]);
    }

    /// Exchanges of Warren's that take what others send, and some that do not.
    fn doors() -> (Vec<String>, Vec<String>) {
        let names = names();
        let open = [names.dead(), names.return_exchange(), names.events(), names.submit()];
        let rungs = crate::Rung::ALL.map(|rung| names.retry(rung));
        let shut = [names.jobs(), names.results(), names.notices(), names.lost(), "acme.device.x".into(), "acme.x.dead".into()];
        (open.into_iter().chain(rungs).chain(["acme.e".into(), String::new(), "amq.topic".into()]).collect(), shut.into())
    }

    #[test]
    fn dead_letters_use_the_doors_too() {
        let letters = |exchange: &str, key: Option<&str>| {
            let queue = Queue::new("acme.q", QueueKind::Classic, "team", "x").with(DEAD_LETTER_EXCHANGE, exchange);
            let queue = key.into_iter().fold(queue, |queue, key| queue.with(DEAD_LETTER_KEY, key));
            codes(&Topology::default().queue(queue))
        };
        let (open, shut) = doors();
        for exchange in &open {
            assert_eq!(letters(exchange, None), [""; 0], "{exchange}");
            assert_eq!(letters(exchange, Some("acme.q")), [""; 0], "{exchange}");
        }
        for exchange in &shut {
            assert_eq!(letters(exchange, None), ["target-taken"], "{exchange}");
        }
        for by_name in ["".to_owned(), names().dead(), names().return_exchange(), names().retry(crate::Rung::M2)] {
            for queue in ["acme.jobs.orders.place", "acme.jobs.orders.place.dead", "acme.warren.results", "acme.mail.dead"] {
                assert_eq!(letters(&by_name, Some(queue)), ["target-taken"], "{by_name} {queue}");
            }
            assert_eq!(letters(&by_name, Some(&names().submit())), [""; 0], "{by_name}");
        }
        assert_eq!(letters("acme.e", Some("jobs.placed")), [""; 0], "a key of their own is no name of a queue");
    }

    #[test]
    fn alternates_and_what_policies_say_of_either_use_the_doors_too() {
        let (open, shut) = doors();
        let policy = |settings: &[(&str, &str)]| {
            let definition = settings.iter().map(|(setting, value)| ((*setting).to_owned(), Argument::from(*value))).collect();
            let name = "acme.p".to_owned();
            let pattern = "^acme".to_owned();
            let policy = Policy { name, pattern, apply_to: crate::ApplyTo::All, priority: 0, definition };
            codes(&Topology::default().policy(policy))
        };
        let alternate = |target: &str| {
            let exchange = Exchange::new("acme.e", ExchangeKind::Topic, "team", "x").with_alternate(target);
            codes(&Topology::default().exchange(exchange))
        };
        for exchange in &open {
            assert_eq!(alternate(exchange), [""; 0], "{exchange}");
            assert_eq!(policy(&[("alternate-exchange", exchange), ("dead-letter-exchange", exchange)]), [""; 0], "{exchange}");
        }
        for exchange in &shut {
            assert_eq!(alternate(exchange), ["target-taken"], "{exchange}");
            assert_eq!(policy(&[("alternate-exchange", exchange)]), ["target-taken"], "{exchange}");
            assert_eq!(policy(&[("dead-letter-exchange", exchange)]), ["target-taken"], "{exchange}");
        }
        let key = ("dead-letter-routing-key", "acme.jobs.orders.place");
        assert_eq!(policy(&[key]), ["target-taken"]);
        assert_eq!(policy(&[("dead-letter-exchange", ""), key]), ["target-taken"]);
        assert_eq!(policy(&[("dead-letter-exchange", "acme.e"), key]), [""; 0]);
    }
}
