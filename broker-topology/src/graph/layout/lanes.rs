//! Which lane each node stands in, in what order, and at what height.

use std::collections::BTreeMap;

use super::{GAP, HEAD, NODE_HEIGHT, Net, OWNER_HEAD, PITCH};
use crate::fragments::HUB;
use crate::graph::{Graph, Role, Way};
use crate::names::Rung;

/// The most lanes of one part, less one.
const MOST_DEPTH: usize = 8;

/// The parts that a message passes, in order. A part may have several lanes: exchanges that are bound to exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::graph) enum Part {
    Front,
    Work,
    Beyond,
    Aside,
    Back,
    Rest,
    RestQueues,
}

impl Part {
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Front => "published to",
            Self::Work => "worked on",
            Self::Beyond => "retries, dead letters",
            Self::Aside => "delays, dead letter queues",
            Self::Back => "the way back",
            Self::Rest => "no queue wanted it",
            Self::RestQueues => "kept",
        }
    }
}

pub(super) struct Lanes {
    /// Per node: its lane.
    pub(super) lane: Vec<usize>,
    /// Per lane: its nodes, from top to bottom.
    pub(super) order: Vec<Vec<usize>>,
    /// Per lane: the part it belongs to.
    pub(super) parts: Vec<Part>,
    /// Per node: upper edge and height.
    pub(super) tops: Vec<i32>,
    pub(super) heights: Vec<i32>,
    /// Whether owners are told apart: they are not when there is only one.
    pub(super) owners: bool,
}

impl Lanes {
    pub(super) fn of(graph: &Graph, nets: &[Net]) -> Self {
        let places = places(graph);
        let mut columns: Vec<(Part, usize)> = places.clone();
        columns.sort_unstable();
        columns.dedup();
        let lane: Vec<usize> = places.iter().map(|place| columns.partition_point(|column| column < place)).collect();
        let mut order = vec![Vec::new(); columns.len()];
        for (node, lane) in lane.iter().enumerate() {
            order[*lane].push(node);
        }
        let heights = (0..graph.nodes.len()).map(|node| height(node, nets)).collect();
        let owners = graph.by_owner().len() > 1;
        let parts = columns.into_iter().map(|(part, _)| part).collect();
        let mut lanes = Self { lane, order, parts, tops: vec![HEAD; graph.nodes.len()], heights, owners };
        lanes.place(graph, nets);
        lanes
    }

    pub(super) fn middle(&self, node: usize) -> i32 {
        self.tops[node] + self.heights[node] / 2
    }

    pub(super) fn bottom(&self) -> i32 {
        (0..self.tops.len()).map(|node| self.tops[node] + self.heights[node]).max().unwrap_or(HEAD)
    }

    /// Queues that are worked on stand by themselves, with their dead letters beside them; the rest beside what it has to do with.
    fn place(&mut self, graph: &Graph, nets: &[Net]) {
        let mut stand = vec![false; graph.nodes.len()];
        for parts in
            [&[Part::Work, Part::Aside][..], &[Part::Front, Part::Beyond, Part::Back], &[Part::Rest], &[Part::RestQueues]]
        {
            let queues = parts[0] == Part::Work;
            // From right to left: exchanges that are bound to others stand beside them.
            let lanes = (0..self.order.len()).filter(|lane| parts.contains(&self.parts[*lane]));
            for lane in Vec::from_iter(if queues { lanes.collect() } else { lanes.rev().collect::<Vec<_>>() }) {
                let nodes = std::mem::take(&mut self.order[lane]);
                let wish =
                    |node| if queues { self.beside_origin(graph, node) } else { self.beside_neighbours(nets, node, &stand) };
                let mut nodes: Vec<(usize, Option<i32>)> = nodes.into_iter().map(|node| (node, wish(node))).collect();
                nodes.sort_by_cached_key(|(node, wish)| {
                    let wish = if queues { i32::MAX } else { wish.unwrap_or(i32::MAX) };
                    (wish, rank(graph, *node))
                });
                self.stack(graph, &nodes);
                self.order[lane] = nodes.into_iter().map(|(node, _)| node).collect();
                for node in &self.order[lane] {
                    stand[*node] = true;
                }
            }
        }
    }

    /// From top to bottom, each where it wishes to be if there is room.
    fn stack(&mut self, graph: &Graph, nodes: &[(usize, Option<i32>)]) {
        let (mut free, mut owner) = (HEAD, None);
        for (node, wish) in nodes {
            let now = graph.nodes[*node].owner.as_str();
            if self.owners && owner != Some(now) {
                // What a band of its own takes: room for the word above, and for its edge below.
                free += if now == HUB { 0 } else { OWNER_HEAD } + if owner.is_some_and(|before| before != HUB) { 8 } else { 0 };
            }
            self.tops[*node] = (wish.map_or(free, |wish| wish.max(free)) + 7) / 8 * 8;
            free = self.tops[*node] + self.heights[*node] + GAP;
            owner = Some(now);
        }
    }

    /// A dead letter queue stands beside the queue whose letters it takes.
    fn beside_origin(&self, graph: &Graph, node: usize) -> Option<i32> {
        let origin = graph.nodes[node].name.strip_suffix(".dead")?;
        let at = graph.nodes.iter().position(|other| !other.is_exchange() && other.name == origin)?;
        (self.lane[at] < self.lane[node]).then(|| self.tops[at])
    }

    /// In the middle of what its lines lead to in the lanes beside it. What is not placed yet has no say.
    fn beside_neighbours(&self, nets: &[Net], node: usize, stand: &[bool]) -> Option<i32> {
        let mut heights = Vec::new();
        for net in nets {
            let ends: Vec<usize> = match net.hub == node {
                true => net.spokes.iter().map(|(spoke, _)| *spoke).collect(),
                false if net.spokes.iter().any(|(spoke, _)| *spoke == node) => vec![net.hub],
                false => Vec::new(),
            };
            let near = |end: &usize| stand[*end] && self.lane[*end].abs_diff(self.lane[node]) == 1;
            heights.extend(ends.iter().filter(|end| near(end)).map(|end| self.middle(*end)));
        }
        let (least, most) = (heights.iter().min()?, heights.iter().max()?);
        Some(((least + most) / 2 - self.heights[node] / 2).max(HEAD))
    }
}

/// The order of queues in a lane: by owner, the hub's first, then by what they are for, then by name, rungs by their delay.
fn rank(graph: &Graph, node: usize) -> (bool, String, Role, usize, String) {
    let node = &graph.nodes[node];
    let rung = Rung::ALL.iter().position(|rung| graph.names.retry(*rung) == node.name).unwrap_or_default();
    (node.owner != HUB, node.owner.clone(), node.role, rung, node.name.clone())
}

/// Room for all lines that meet its busier side.
fn height(node: usize, nets: &[Net]) -> i32 {
    let [left, right] = [false, true].map(|right| nets.iter().filter(|net| meets(net, node, right)).count());
    let lines = i32::try_from(left.max(right)).unwrap_or(i32::MAX / PITCH);
    NODE_HEIGHT.max(lines * PITCH + PITCH)
}

/// Whether `net` has a line on that side of `node`.
pub(super) fn meets(net: &Net, node: usize, right: bool) -> bool {
    (net.hub == node && net.outward() == right) || (net.outward() != right && net.spokes.iter().any(|(spoke, _)| *spoke == node))
}

/// Part and depth of each node.
fn places(graph: &Graph) -> Vec<(Part, usize)> {
    let names = &graph.names;
    let front = [names.jobs(), names.events(), names.submit(), names.results(), names.notices()];
    let rungs = Rung::ALL.map(|rung| names.retry(rung));
    let into = |node: usize, way| graph.edges.iter().filter(move |edge| edge.to == node && edge.way == way);
    let exchange = |at: usize| {
        let name = &graph.nodes[at].name;
        match () {
            () if *name == names.return_exchange() => Part::Back,
            () if front.contains(name) => Part::Front,
            () if rungs.contains(name) || *name == names.dead() || into(at, Way::DeadLetter).next().is_some() => Part::Beyond,
            () if into(at, Way::Alternate).next().is_some() => Part::Rest,
            () => Part::Front,
        }
    };
    let exchanges: BTreeMap<usize, Part> =
        (0..graph.nodes.len()).filter(|at| graph.nodes[*at].is_exchange()).map(|at| (at, exchange(at))).collect();
    let depths = depths(graph, &exchanges);
    let place = |at: usize| {
        if let Some(part) = exchanges.get(&at) {
            return (*part, MOST_DEPTH - depths[&at]);
        }
        let sources: Vec<Part> = into(at, Way::Binding).filter_map(|edge| exchanges.get(&edge.from).copied()).collect();
        let only = |part| !sources.is_empty() && sources.iter().all(|source| *source == part);
        match () {
            () if only(Part::Rest) => (Part::RestQueues, 0),
            () if graph.nodes[at].role == Role::Rung || only(Part::Beyond) => (Part::Aside, 0),
            () => (Part::Work, 0),
        }
    };
    (0..graph.nodes.len()).map(place).collect()
}

/// How many exchanges of its part may come after each one: two that are bound to one another stand in two lanes. In a ring there is
/// no last one, and this ends somewhere.
fn depths(graph: &Graph, exchanges: &BTreeMap<usize, Part>) -> BTreeMap<usize, usize> {
    let mut depths: BTreeMap<usize, usize> = exchanges.keys().map(|at| (*at, 0)).collect();
    let same = |from, to| exchanges.get(&from).is_some_and(|part| exchanges.get(&to) == Some(part)) && from != to;
    let bound = graph.edges.iter().filter(|edge| edge.way == Way::Binding && same(edge.from, edge.to));
    let bound: Vec<(usize, usize)> = bound.map(|edge| (edge.from, edge.to)).collect();
    for _ in 0..MOST_DEPTH {
        for (from, to) in &bound {
            depths.insert(*from, depths[from].max(depths[to] + 1).min(MOST_DEPTH));
        }
    }
    depths
}
