//! What a person has to do where Warren does not.

use std::collections::BTreeSet;

use super::{Target, key_of};
use crate::live::{Live, LiveBinding};
use crate::topology::Topology;

/// Bindings that are named; the others are counted.
const NAMED: usize = 3;

/// Of an exchange that has to be made anew: its bindings go with it, and only ours come back by themselves.
pub(super) fn exchange(name: &str, desired: &Topology, live: &Live) -> String {
    let wanted: BTreeSet<String> = desired.bindings.iter().map(LiveBinding::of).map(|binding| key_of(&binding)).collect();
    let touches =
        |binding: &LiveBinding| binding.source == name || binding.destination == name && binding.destination_type == "exchange";
    let others: Vec<&LiveBinding> =
        live.bindings.iter().filter(|binding| touches(binding) && !wanted.contains(&key_of(binding))).collect();
    let delete = format!("delete it (`rabbitmqadmin --vhost={} delete exchange name={}`)", quoted(&live.vhost), quoted(name));
    if others.is_empty() {
        return format!(
            "RabbitMQ cannot change an exchange: stop who publishes to it, {delete}, and apply again, which makes it and its bindings anew"
        );
    }
    let mut named: Vec<String> =
        others.iter().take(NAMED).map(|binding| Target::Binding((*binding).clone()).to_string()).collect();
    if others.len() > NAMED {
        named.push(format!("{} more", others.len() - NAMED));
    }
    format!(
        "RabbitMQ cannot change an exchange, and with it go {} bindings that others made: {}. Stop who publishes to it, save them \
         (`rabbitmqctl export_definitions before.json`), {delete}, apply again, which makes it and our bindings anew, and bring theirs \
         back (`rabbitmqctl import_definitions before.json`, which changes no exchange that is there)",
        others.len(),
        named.join(", ")
    )
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
