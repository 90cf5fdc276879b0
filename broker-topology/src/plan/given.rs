//! What a broker that was given a file of definitions still lacks of it.

use std::collections::BTreeSet;

use super::{Action, Plan, Step, Target, flags, flat, key_of, properties_of};
use crate::argument::QUEUE_TYPE;
use crate::live::{Live, LiveArguments, LiveExchange};

impl Plan {
    /// Compares `given`, what a file of definitions says, with the broker. What is there besides is nobody's business here.
    ///
    /// The file may be anybody's: a queue of it that asks for no type has whichever the broker gives it. Marks are as in [`Plan::new`].
    pub fn after_import(given: &Live, live: &Live) -> Self {
        let mut plan = Self::default();
        let missing = |target| Step::new(Action::Create, target);
        for (name, exchange) in &given.exchanges {
            let target = Target::Exchange { name: name.clone() };
            match live.exchanges.get(name) {
                None => plan.steps.push(missing(target)),
                Some(found) => {
                    let (is, should) = (properties_of_exchange(found), properties_of_exchange(exchange));
                    plan.compare(Action::Migrate, target, &is, &should, None);
                }
            }
        }
        for (name, queue) in &given.queues {
            let target = Target::Queue { name: name.clone() };
            let Some(found) = live.queues.get(name) else {
                plan.steps.push(missing(target));
                continue;
            };
            let (mut is, should) = (properties_of(found), properties_of(queue));
            if !should.contains_key(QUEUE_TYPE) {
                is.remove(QUEUE_TYPE);
            }
            plan.compare(Action::Migrate, target, &is, &should, None);
        }
        let there: BTreeSet<String> = live.bindings.iter().map(key_of).collect();
        let absent = given.bindings.iter().filter(|binding| !there.contains(&key_of(binding)));
        plan.steps.extend(absent.map(|binding| missing(Target::Binding(binding.clone()))));
        // Who may import sees policies; those that nobody may see are not known to be there.
        for policy in given.policies.iter().flatten() {
            let target = Target::Policy { name: policy.name.clone() };
            match live.policies.iter().flatten().find(|found| found.name == policy.name) {
                None => plan.steps.push(missing(target)),
                Some(found) => plan.compare(Action::Change, target, &flat(found), &flat(policy), None),
            }
        }
        plan
    }
}

/// All that a declare of an exchange that exists compares.
pub(super) fn properties_of_exchange(exchange: &LiveExchange) -> LiveArguments {
    let mut properties = exchange.arguments.clone();
    properties.insert("type".to_owned(), exchange.kind.as_str().into());
    flags(&mut properties, exchange.durable, exchange.auto_delete);
    properties.insert("internal".to_owned(), exchange.internal.into());
    properties
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::live::{LiveBinding, LivePolicy, LiveQueue};
    use crate::{Binding, Exchange, ExchangeKind, Names, Topology, core};

    fn lines(plan: &Plan) -> Vec<String> {
        let each = plan.steps.iter().map(|step| {
            let differ: Vec<String> = step.properties.iter().map(ToString::to_string).collect();
            format!("{}: {}", step.target, differ.join(", "))
        });
        each.collect()
    }

    #[test]
    fn each_difference_names_object_property_and_both_values() {
        let exchange = Exchange::new("e", ExchangeKind::Topic, "hub", "x");
        let mut given = Live::of(&Topology::default().exchange(exchange).binding(Binding::to_queue("e", "q", "k")));
        for name in ["q", "r", "s"] {
            let queue = LiveQueue { name: name.to_owned(), durable: true, ..LiveQueue::default() };
            given.queues.insert(name.to_owned(), queue);
        }
        given.queues.get_mut("q").unwrap().arguments = serde_json::from_value(json!({"x-queue-type": "quorum"})).unwrap();
        given.policies.get_or_insert_default().push(LivePolicy {
            name: "p".to_owned(),
            pattern: "^q".to_owned(),
            ..LivePolicy::default()
        });
        assert_eq!(lines(&Plan::after_import(&given, &given)), [""; 0]);

        let mut live = given.clone();
        live.exchanges.get_mut("e").unwrap().auto_delete = true;
        let queue = live.queues.get_mut("q").unwrap();
        queue.arguments = serde_json::from_value(json!({"x-max-length": 5, "x-queue-type": "classic"})).unwrap();
        queue.durable = false;
        live.queues.remove("r");
        // Brokers tell the type of a queue that asked for none.
        live.queues.get_mut("s").unwrap().kind = Some("classic".to_owned());
        live.bindings = vec![LiveBinding::of(&Binding::to_queue("e", "q", "another"))];
        live.policies.as_mut().unwrap()[0].priority = 7;
        assert_eq!(
            lines(&Plan::after_import(&given, &live)),
            [
                "exchange e: auto-delete from true to false",
                "queue q: durable from false to true, x-max-length from 5 to nothing, x-queue-type from `classic` to `quorum`",
                "queue r: ",
                "binding e -> queue q (key `k`): ",
                "policy p: priority from 7 to 0",
            ]
        );
    }

    #[test]
    fn other_words_in_the_marks_and_what_is_there_besides_are_no_difference() {
        let given = Live::of(&core(&Names::new("")));
        let mut live = given.clone();
        for exchange in live.exchanges.values_mut() {
            exchange.arguments.insert("warren-owner".to_owned(), json!("somebody"));
        }
        for queue in live.queues.values_mut() {
            queue.arguments.insert("warren-description".to_owned(), json!("other words"));
        }
        live.queues.insert("more".to_owned(), LiveQueue::default());
        assert!(Plan::after_import(&given, &live).is_empty());
    }
}
