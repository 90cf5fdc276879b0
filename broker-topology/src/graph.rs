//! A topology as nodes and edges, to be drawn: [`Graph::mermaid`], [`Graph::dot`], [`Graph::svg`].
//!
//! Owns what is shown and what it is called; the modules below own how. Nothing here reads or writes anything.

mod dot;
mod focus;
mod layout;
mod mermaid;
mod svg;

use std::collections::BTreeMap;

use crate::argument::{Arguments, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY};
use crate::binding::{Binding, Destination};
use crate::exchange::ExchangeKind;
use crate::names::{Names, Rung};
use crate::queue::Queue;
use crate::topology::Topology;

/// What a node is for, which decides its colour and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// An exchange; it is told by its shape.
    Exchange(ExchangeKind),
    /// A queue of the hub's own that nobody else reads: submissions, results, what is lost.
    Terminal,
    /// The queue of a kind.
    Work,
    /// The queue of somebody who is told of events.
    Subscriber,
    /// The queue of one device.
    Device,
    /// A queue that is none of Warren's sorts: the team's own.
    Own,
    /// Where dead letters of one queue lie.
    Dead,
    /// A delay.
    Rung,
}

impl Role {
    /// The word for it in styles and legends.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Exchange(_) => "exchange",
            Self::Terminal => "terminal",
            Self::Work => "work",
            Self::Subscriber => "subscriber",
            Self::Device => "device",
            Self::Own => "own",
            Self::Dead => "dead",
            Self::Rung => "rung",
        }
    }

    fn of(queue: &Queue, topology: &Topology, names: &Names) -> Self {
        let name = queue.name.as_str();
        let from = |exchange: &str| {
            let mut into = topology.bindings.iter().filter(|binding| binding.destination == Destination::Queue(name.to_owned()));
            into.any(|binding| binding.source == exchange)
        };
        match name {
            _ if Rung::ALL.into_iter().any(|rung| names.retry(rung) == name) => Self::Rung,
            _ if [names.submit(), names.results(), names.lost()].iter().any(|own| own == name) => Self::Terminal,
            _ if name.starts_with(&names.on_broker("warren.")) => Self::Terminal,
            _ if name.starts_with(&names.on_broker("device.")) => Self::Device,
            _ if name.ends_with(".dead") && from(&names.dead()) => Self::Dead,
            _ if name.starts_with(&names.on_broker("jobs.")) => Self::Work,
            _ if from(&names.events()) => Self::Subscriber,
            _ => Self::Own,
        }
    }
}

/// An exchange or a queue.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// `direct exchange`, `quorum queue`.
    pub(crate) sort: String,
    pub(crate) owner: String,
    pub(crate) description: String,
    pub(crate) arguments: Arguments,
}

impl Node {
    fn is_exchange(&self) -> bool {
        matches!(self.role, Role::Exchange(_))
    }

    /// All that is known of it, a line each.
    fn told(&self) -> String {
        let Self { name, sort, owner, description, .. } = self;
        let head = format!("{name}: {sort} of {owner}\n{description}");
        let marks = |name: &str| name.starts_with("warren-") || name == "x-queue-type";
        let arguments = self.arguments.iter().filter(|(name, _)| !marks(name));
        arguments.fold(head, |told, (name, value)| format!("{told}\n{name} = {value}"))
    }
}

/// Why messages go along an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Routed by one binding, or several between the same two.
    Binding,
    /// Dead-lettered: rejected, expired, or delivered too often.
    DeadLetter,
    /// To the alternate exchange, since no binding wanted them.
    Alternate,
}

/// One arrow. There is one for each way between two nodes, however many keys it has.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) way: Way,
    /// Keys, patterns or header matches worth reading: those that are no mere repetition of the queue's name.
    pub(crate) keys: Vec<String>,
}

/// A picture of a topology, not drawn yet.
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    names: Names,
}

impl Graph {
    /// All of `topology`, whose names are made by `names`. What leads to an object that is not declared is left out.
    pub fn of(topology: &Topology, names: &Names) -> Self {
        let exchanges = topology.exchanges.iter().map(|exchange| Node {
            name: exchange.name.clone(),
            role: Role::Exchange(exchange.kind),
            sort: format!("{} exchange", exchange.kind),
            owner: exchange.owner.clone(),
            description: exchange.description.clone(),
            arguments: exchange.arguments(),
        });
        let queues = topology.queues.iter().map(|queue| Node {
            name: queue.name.clone(),
            role: Role::of(queue, topology, names),
            sort: format!("{} queue", queue.kind),
            owner: queue.owner.clone(),
            description: queue.description.clone(),
            arguments: queue.arguments(),
        });
        let nodes: Vec<Node> = exchanges.chain(queues).collect();
        let edges = edges(topology, &nodes);
        Self { nodes, edges, names: names.clone() }
    }

    /// How many arrows it has. Mermaid refuses to draw more than 500 unless its page says otherwise.
    pub fn arrows(&self) -> usize {
        self.edges.len()
    }

    /// Owners with their nodes, in order.
    fn by_owner(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut owners: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            owners.entry(&node.owner).or_default().push(at);
        }
        owners
    }

    /// One edge in words.
    fn told(&self, edge: &Edge) -> String {
        let (from, to) = (&self.nodes[edge.from].name, &self.nodes[edge.to].name);
        let keys = if edge.keys.is_empty() { String::new() } else { format!("\n{}", edge.keys.join("\n")) };
        match edge.way {
            Way::Binding => format!("{from} routes to {to}{keys}"),
            Way::DeadLetter => format!("{from} dead-letters to {to}{keys}"),
            Way::Alternate => format!("{to} gets what no binding of {from} wants"),
        }
    }
}

fn edges(topology: &Topology, nodes: &[Node]) -> Vec<Edge> {
    let numbered = || nodes.iter().enumerate();
    let exchanges: BTreeMap<&str, usize> =
        numbered().filter(|(_, node)| node.is_exchange()).map(|(at, node)| (node.name.as_str(), at)).collect();
    let queues: BTreeMap<&str, usize> =
        numbered().filter(|(_, node)| !node.is_exchange()).map(|(at, node)| (node.name.as_str(), at)).collect();
    let mut found: BTreeMap<(usize, usize, Way), Vec<String>> = BTreeMap::new();
    let mut add = |from: Option<&usize>, to: Option<&usize>, way, key: Option<String>| {
        if let (Some(from), Some(to)) = (from, to) {
            found.entry((*from, *to, way)).or_default().extend(key);
        }
    };
    for binding in &topology.bindings {
        let name = binding.destination.name();
        let to = match &binding.destination {
            Destination::Queue(_) => queues.get(name),
            Destination::Exchange(_) => exchanges.get(name),
        };
        add(exchanges.get(binding.source.as_str()), to, Way::Binding, key_of(binding));
    }
    for queue in &topology.queues {
        let (Some(exchange), from) = (queue.text(DEAD_LETTER_EXCHANGE), queues.get(queue.name.as_str())) else { continue };
        let key = queue.text(DEAD_LETTER_KEY);
        match exchange {
            // The default exchange: straight to the queue of that name.
            "" => add(from, queues.get(key.unwrap_or(&queue.name)), Way::DeadLetter, None),
            _ => {
                let key = key.filter(|key| *key != queue.name).map(str::to_owned);
                add(from, exchanges.get(exchange), Way::DeadLetter, key);
            }
        }
    }
    for exchange in &topology.exchanges {
        let alternate = exchange.alternate.as_deref().and_then(|name| exchanges.get(name));
        add(exchanges.get(exchange.name.as_str()), alternate, Way::Alternate, None);
    }
    found.into_iter().map(|((from, to, way), keys)| Edge { from, to, way, keys }).collect()
}

fn key_of(binding: &Binding) -> Option<String> {
    if !binding.arguments.is_empty() {
        let matches: Vec<String> = binding.arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
        return Some(matches.join(" "));
    }
    Some(binding.key.clone()).filter(|key| !key.is_empty() && key != binding.destination.name())
}

/// `text` of at most `most` characters, its middle left out.
fn shortened(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let (head, tail) = (most / 2, most - most / 2 - 1);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

/// `text` in XML, where it may stand between tags and in attributes.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' => out.push(c),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
        out
    })
}
