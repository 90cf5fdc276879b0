//! The neighbourhood of one object: where its messages come from, and where they go when it is done with them.

use std::collections::BTreeSet;

use crate::argument::{DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY};
use crate::binding::Destination;
use crate::names::Names;
use crate::topology::Topology;

impl Topology {
    /// The part of it that has to do with the exchange, queue or kind `on`, with or without the prefix of `names`: what routes to it,
    /// directly or after a delay, and where it routes or dead-letters to. `None` when there is no such thing.
    pub fn focused(&self, names: &Names, on: &str) -> Option<Self> {
        let spellings = [on.to_owned(), names.on_broker(on), names.on_broker(&format!("jobs.{on}"))];
        let name = spellings.iter().find(|name| self.find_queue(name).is_some() || self.find_exchange(name).is_some())?;
        let mut kept = Kept { whole: self, exchanges: BTreeSet::new(), queues: BTreeSet::new() };
        if let Some(queue) = self.find_queue(name) {
            kept.leads_to_queue(&queue.name);
            kept.dead_letters_of(&queue.name);
        }
        if let Some(exchange) = self.find_exchange(name) {
            kept.leads_to_exchange(&exchange.name, None);
            kept.out_of(&exchange.name);
        }
        Some(kept.only())
    }
}

struct Kept<'a> {
    whole: &'a Topology,
    exchanges: BTreeSet<&'a str>,
    queues: BTreeSet<&'a str>,
}

impl<'a> Kept<'a> {
    /// The queue, and all that leads into it.
    fn leads_to_queue(&mut self, queue: &'a str) {
        if self.queues.insert(queue) {
            for binding in
                self.whole.bindings.iter().filter(|b| matches!(&b.destination, Destination::Queue(name) if name == queue))
            {
                self.leads_to_exchange(&binding.source, Some(queue));
            }
        }
    }

    /// The exchange, and all that leads into it; of the queues that dead-letter there under a key of their own, those whose letters
    /// reach `queue`.
    fn leads_to_exchange(&mut self, exchange: &'a str, queue: Option<&str>) {
        if !self.exchanges.insert(exchange) {
            return;
        }
        let whole = self.whole;
        for binding in whole.bindings.iter().filter(|b| matches!(&b.destination, Destination::Exchange(name) if name == exchange))
        {
            self.leads_to_exchange(&binding.source, queue);
        }
        for source in whole.queues.iter().filter(|source| source.text(DEAD_LETTER_EXCHANGE) == Some(exchange)) {
            match source.text(DEAD_LETTER_KEY) {
                None => self.leads_to_queue(&source.name),
                Some(key) if queue.is_none_or(|queue| whole.queues_for(exchange, key).contains(queue)) => {
                    self.queues.insert(&source.name);
                }
                Some(_) => {}
            }
        }
        let alternates = whole.exchanges.iter().filter(|source| source.alternate.as_deref() == Some(exchange));
        self.exchanges.extend(alternates.map(|source| source.name.as_str()));
    }

    /// Where a queue's dead letters end.
    fn dead_letters_of(&mut self, queue: &'a str) {
        let Some(queue) = self.whole.find_queue(queue) else { return };
        let Some(exchange) = queue.text(DEAD_LETTER_EXCHANGE) else { return };
        self.exchanges.insert(exchange);
        self.queues.extend(match queue.text(DEAD_LETTER_KEY) {
            Some(key) => self.whole.queues_for(exchange, key),
            None => self.whole.reach(exchange, None),
        });
    }

    /// Where an exchange routes to, one step far.
    fn out_of(&mut self, exchange: &'a str) {
        for binding in self.whole.bindings.iter().filter(|binding| binding.source == exchange) {
            match &binding.destination {
                Destination::Queue(name) => self.queues.insert(name),
                Destination::Exchange(name) => self.exchanges.insert(name),
            };
        }
        let alternate = self.whole.find_exchange(exchange).and_then(|exchange| exchange.alternate.as_deref());
        self.exchanges.extend(alternate);
    }

    /// What was kept, with the bindings within it.
    fn only(self) -> Topology {
        let whole = self.whole;
        let inside = |destination: &Destination| match destination {
            Destination::Queue(name) => self.queues.contains(name.as_str()),
            Destination::Exchange(name) => self.exchanges.contains(name.as_str()),
        };
        let bindings = whole.bindings.iter().filter(|b| self.exchanges.contains(b.source.as_str()) && inside(&b.destination));
        Topology {
            exchanges: whole.exchanges.iter().filter(|e| self.exchanges.contains(e.name.as_str())).cloned().collect(),
            queues: whole.queues.iter().filter(|q| self.queues.contains(q.name.as_str())).cloned().collect(),
            bindings: bindings.cloned().collect(),
            ..Topology::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{Kind, core, subscriber, work_queue};

    fn around(on: &str) -> Option<(Vec<String>, Vec<String>)> {
        let names = Names::new("acme.");
        let kind = |text| work_queue(&names, &Kind::parse(text).unwrap(), "orders");
        let all = [
            core(&names),
            kind("orders.place"),
            kind("orders.cancel"),
            subscriber(&names, "billing.invoices", &["#"], "billing"),
        ];
        let part = Topology::merge(all).unwrap().focused(&names, on)?;
        let short = |name: &String| name.trim_start_matches("acme.").to_owned();
        Some((part.exchanges.iter().map(|e| short(&e.name)).collect(), part.queues.iter().map(|q| short(&q.name)).collect()))
    }

    #[test]
    fn a_kind_is_shown_with_its_way_in_its_delays_and_its_dead_letters() {
        let (exchanges, queues) = around("orders.place").unwrap();
        assert_eq!(Some((exchanges.clone(), queues.clone())), around("acme.jobs.orders.place"));
        let delays = ["warren.retry.10m", "warren.retry.1s", "warren.retry.2m", "warren.retry.30s", "warren.retry.5s"];
        assert_eq!(
            exchanges,
            [&["warren.dead", "warren.jobs"][..], &delays[..4], &["warren.retry.5s", "warren.return"]].concat()
        );
        assert_eq!(queues, [&["jobs.orders.place", "jobs.orders.place.dead"][..], &delays].concat());
    }

    #[test]
    fn dead_letters_are_shown_with_the_queue_they_come_from() {
        let (exchanges, queues) = around("jobs.orders.place.dead").unwrap();
        assert_eq!(exchanges, ["warren.dead"]);
        assert_eq!(queues, ["jobs.orders.place", "jobs.orders.place.dead"]);
    }

    #[test]
    fn an_exchange_is_shown_with_what_it_routes_to() {
        let (exchanges, queues) = around("warren.events").unwrap();
        assert_eq!((exchanges, queues), (vec!["warren.events".to_owned()], vec!["billing.invoices".to_owned()]));
        let (exchanges, queues) = around("warren.lost").unwrap();
        assert_eq!(exchanges, ["warren.dead", "warren.lost", "warren.return"]);
        assert_eq!(queues, ["warren.lost"]);
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        assert_eq!(around("nowhere"), None);
    }
}
