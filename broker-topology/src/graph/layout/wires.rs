//! The lines: at what height they meet nodes, which tracks and highways they take, and how wide that makes each channel.

use std::collections::{BTreeMap, BTreeSet};

use super::lanes::{Lanes, meets};
use super::{
    Band, GAP, HEAD, Label, MARGIN, MOST_KEY, MOST_NAME, NAME, Net, OWNER_HEAD, PITCH, Picture, Placed, Rect, SMALL, TRACK, Wire,
    width,
};
use crate::fragments::HUB;
use crate::graph::{Graph, shortened};

/// Before the tracks of a channel, and between them and the boxes: room for an arrow.
const STUB: i32 = 18;

struct Wiring<'a> {
    graph: &'a Graph,
    lanes: &'a Lanes,
    nets: Vec<Net>,
    /// Height of each line at a node: (net, node) -> y.
    ports: BTreeMap<(usize, usize), i32>,
    /// Nets that are one straight line.
    straight: BTreeSet<usize>,
    /// Per channel, the one before the first lane included: the nets that have a track there, in order.
    tracks: Vec<Vec<usize>>,
    /// Nets that go below all nodes, in order.
    highways: Vec<usize>,
    /// Per lane: left edge and width. Per channel: where its first track is.
    lefts: Vec<i32>,
    widths: Vec<i32>,
    firsts: Vec<i32>,
    right: i32,
}

pub(super) fn wired(graph: &Graph, nets: Vec<Net>, lanes: &Lanes) -> Picture {
    let mut wiring = Wiring {
        graph,
        lanes,
        nets,
        ports: BTreeMap::new(),
        straight: BTreeSet::new(),
        tracks: vec![Vec::new(); lanes.order.len() + 1],
        highways: Vec::new(),
        lefts: Vec::new(),
        widths: Vec::new(),
        firsts: Vec::new(),
        right: 0,
    };
    wiring.meet();
    wiring.route();
    wiring.measure();
    wiring.picture()
}

impl Wiring<'_> {
    /// The channel in which a line of `net` meets its hub, or a spoke in `lane`.
    fn channel(&self, net: usize, lane: usize, hub: bool) -> usize {
        if self.nets[net].outward() == hub { lane + 1 } else { lane }
    }

    fn hub_channel(&self, net: usize) -> usize {
        self.channel(net, self.lanes.lane[self.nets[net].hub], true)
    }

    fn spoke_channel(&self, net: usize, spoke: usize) -> usize {
        self.channel(net, self.lanes.lane[spoke], false)
    }

    /// Where lines meet nodes, those that lead further down below the others.
    fn meet(&mut self) {
        for node in 0..self.graph.nodes.len() {
            for right in [false, true] {
                let mut here: Vec<usize> = (0..self.nets.len()).filter(|net| meets(&self.nets[*net], node, right)).collect();
                here.sort_by_key(|net| self.far_end(*net, node));
                let room = self.lanes.heights[node] - PITCH * (i32::try_from(here.len()).unwrap_or_default() - 1).max(0);
                let first = self.lanes.tops[node] + room / 2 / 8 * 8;
                for (number, net) in (0..).zip(here) {
                    self.ports.insert((net, node), first + number * PITCH + if right { 4 } else { 0 });
                }
            }
        }
        for net in 0..self.nets.len() {
            let (hub, [(spoke, _)]) = (self.nets[net].hub, &self.nets[net].spokes[..]) else { continue };
            let spoke = *spoke;
            // The line is at the height where it enters: that of the side whose heights are multiples of 8.
            let (out, into) = if self.nets[net].outward() { (hub, spoke) } else { (spoke, hub) };
            let y = self.ports[&(net, into)];
            let (top, alone) =
                (self.lanes.tops[out], !self.nets.iter().enumerate().any(|(n, other)| n != net && meets(other, out, true)));
            let fits = y > top + 4 && y < top + self.lanes.heights[out] - 4;
            if self.hub_channel(net) == self.spoke_channel(net, spoke) && fits && alone {
                self.ports.insert((net, out), y);
                self.straight.insert(net);
            }
        }
    }

    /// Where the other end of a net is: what goes by a highway is below everything.
    fn far_end(&self, net: usize, node: usize) -> (bool, i32, usize) {
        let it = &self.nets[net];
        let spokes = || it.spokes.iter().map(|(spoke, _)| *spoke);
        let far = spokes().any(|spoke| self.spoke_channel(net, spoke) != self.hub_channel(net));
        let heights: Vec<i32> = match it.hub == node {
            true => spokes().map(|spoke| self.lanes.middle(spoke)).collect(),
            false => vec![self.lanes.middle(it.hub)],
        };
        let count = i32::try_from(heights.len()).unwrap_or(1).max(1);
        (far, heights.iter().sum::<i32>() / count, net)
    }

    fn route(&mut self) {
        for net in (0..self.nets.len()).filter(|net| !self.straight.contains(net)) {
            let mut channels = BTreeSet::from([self.hub_channel(net)]);
            channels.extend(self.nets[net].spokes.iter().map(|(spoke, _)| self.spoke_channel(net, *spoke)));
            if channels.len() > 1 {
                self.highways.push(net);
            }
            for channel in channels {
                self.tracks[channel].push(net);
            }
        }
        let (nets, highways) = (&self.nets, &self.highways);
        for tracks in &mut self.tracks {
            // What leads in from elsewhere is nearest to the lane it leads to.
            tracks.sort_by_key(|net| (highways.contains(net), nets[*net].hub, *net));
        }
    }

    fn measure(&mut self) {
        let mut x = MARGIN;
        for channel in 0..self.tracks.len() {
            let lane = channel.checked_sub(1);
            let label = self.labels(channel).map(|(_, _, label)| width(&label, SMALL)).max().unwrap_or_default();
            let tracks = i32::try_from(self.tracks[channel].len()).unwrap_or_default();
            let empty = tracks == 0 && label == 0;
            self.firsts.push(x + if lane.is_some() { STUB } else { 0 });
            let room = match empty {
                true if channel == 0 || channel == self.lanes.order.len() => 0,
                true => STUB * 3,
                false => tracks * TRACK + label + STUB + if lane.is_some() { STUB } else { 0 } + 8,
            };
            x += room;
            let Some(nodes) = self.lanes.order.get(channel) else { break };
            let name = |node: &usize| {
                let node = &self.graph.nodes[*node];
                let owner =
                    if self.lanes.owners && node.owner != HUB { width(&shortened(&node.owner, MOST_KEY), SMALL) } else { 0 };
                width(&shortened(&node.name, MOST_NAME), NAME).max(width(&sub(self.graph, node), SMALL)).max(owner)
            };
            let heading = width(self.lanes.parts[channel].heading(), SMALL);
            let widest = nodes.iter().map(name).max().unwrap_or_default() + 40;
            self.lefts.push(x);
            self.widths.push(widest.max(heading));
            x += widest.max(heading);
        }
        self.right = x + MARGIN;
    }

    /// Spokes that are entered in `channel`, each with its net and the text above its branch.
    fn labels(&self, channel: usize) -> impl Iterator<Item = (usize, usize, String)> {
        self.nets.iter().enumerate().filter(|(_, net)| net.outward()).flat_map(move |(number, net)| {
            let here = net.spokes.iter().filter(move |(spoke, _)| self.spoke_channel(number, *spoke) == channel);
            here.map(move |(spoke, edge)| (number, *spoke, label(&self.graph.edges[*edge].keys)))
        })
    }

    fn track(&self, channel: usize, net: usize) -> i32 {
        let number = self.tracks[channel].iter().position(|other| *other == net).unwrap_or_default();
        self.firsts[channel] + i32::try_from(number).unwrap_or_default() * TRACK
    }

    /// Where a line of `net` meets `node`.
    fn end(&self, net: usize, node: usize) -> (i32, i32) {
        let lane = self.lanes.lane[node];
        let right = self.nets[net].outward() == (self.nets[net].hub == node);
        (self.lefts[lane] + if right { self.widths[lane] } else { 0 }, self.ports[&(net, node)])
    }

    fn picture(self) -> Picture {
        let (mut wires, mut keys) = (Vec::new(), Vec::new());
        let below = self.lanes.bottom() + GAP + 8;
        for (number, net) in self.nets.iter().enumerate() {
            self.draw(number, net, below, &mut wires);
        }
        for channel in 0..self.tracks.len() {
            for (net, spoke, text) in self.labels(channel).filter(|(_, _, text)| !text.is_empty()) {
                let (x, y) = self.end(net, spoke);
                keys.push(Label { x: x - STUB + 4 - width(&text, SMALL), y: y - 3, size: SMALL, text });
            }
        }
        let heading = |(lane, part): (usize, &super::lanes::Part)| Label {
            x: self.lefts[lane],
            y: HEAD - 24,
            size: SMALL,
            text: part.heading().to_owned(),
        };
        // A part has one heading, over its first lane.
        let first = |(lane, part): &(usize, &super::lanes::Part)| *lane == 0 || self.lanes.parts[lane - 1] != **part;
        let headings = self.lanes.parts.iter().enumerate().filter(first).map(heading).collect();
        let highways = i32::try_from(self.highways.len()).unwrap_or_default();
        Picture {
            width: self.right,
            height: below + highways * TRACK + GAP,
            headings,
            boxes: self.lanes.order.iter().flatten().map(|node| self.stands(*node)).collect(),
            bands: self.bands(),
            wires,
            keys,
            nets: self.nets,
        }
    }

    /// The trunk of a net, then a branch for each spoke.
    fn draw(&self, number: usize, net: &Net, below: i32, wires: &mut Vec<Wire>) {
        let hub = self.end(number, net.hub);
        if self.straight.contains(&number) {
            let (spoke, edge) = net.spokes[0];
            let mut points = vec![hub, self.end(number, spoke)];
            points.sort_unstable();
            wires.push(Wire { net: number, points, arrow: true, joint: None, told: self.graph.told(&self.graph.edges[edge]) });
            return;
        }
        let highway = self.highways.iter().position(|other| *other == number);
        let highway = highway.map(|place| below + i32::try_from(place).unwrap_or_default() * TRACK);
        let name = &self.graph.nodes[net.hub].name;
        let told = if net.outward() { format!("from {name}") } else { format!("to {name}") };
        let mut wire = |points: Vec<(i32, i32)>, arrow, joint, told: &str| {
            wires.push(Wire { net: number, points, arrow, joint, told: told.to_owned() });
        };
        let mut channels: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        channels.entry(self.hub_channel(number)).or_default().push(hub.1);
        for (spoke, _) in &net.spokes {
            channels.entry(self.spoke_channel(number, *spoke)).or_default().push(self.end(number, *spoke).1);
        }
        let mut across = Vec::new();
        for (channel, mut heights) in channels {
            let x = self.track(channel, number);
            heights.extend(highway);
            let (top, bottom) = (heights.iter().min().copied().unwrap_or(hub.1), heights.iter().max().copied().unwrap_or(hub.1));
            if top < bottom {
                wire(vec![(x, top), (x, bottom)], false, None, &told);
            }
            across.push(x);
        }
        if let (Some(y), Some(first), Some(last)) = (highway, across.first(), across.last()) {
            wire(vec![(*first, y), (*last, y)], false, None, &told);
        }
        let x = self.track(self.hub_channel(number), number);
        match net.outward() {
            true => wire(vec![hub, (x, hub.1)], false, None, &told),
            false => wire(vec![(x, hub.1), hub], true, None, &told),
        }
        let several = net.spokes.len() > 1;
        for (spoke, edge) in &net.spokes {
            let (end, x) = (self.end(number, *spoke), self.track(self.spoke_channel(number, *spoke), number));
            let (told, joint) = (self.graph.told(&self.graph.edges[*edge]), several.then_some((x, end.1)));
            match net.outward() {
                true => wire(vec![(x, end.1), end], true, joint, &told),
                false => wire(vec![end, (x, end.1)], false, joint, &told),
            }
        }
    }

    fn stands(&self, node: usize) -> Placed {
        let lane = self.lanes.lane[node];
        let at = Rect { x: self.lefts[lane], y: self.lanes.tops[node], w: self.widths[lane], h: self.lanes.heights[node] };
        let middle = at.y + at.h / 2;
        let text = |text: String, size, y| Label { x: at.x + (at.w - width(&text, size)) / 2, y, size, text };
        let name = text(shortened(&self.graph.nodes[node].name, MOST_NAME), NAME, middle - 2);
        Placed { node, at, name, sub: text(sub(self.graph, &self.graph.nodes[node]), SMALL, middle + 14) }
    }

    /// Runs of nodes of one owner; those of the hub need no word.
    fn bands(&self) -> Vec<Band> {
        let owner = |node: &usize| self.graph.nodes[*node].owner.as_str();
        let runs = self.lanes.order.iter().flat_map(|nodes| nodes.chunk_by(|one, next| owner(one) == owner(next)));
        let band = |run: &[usize]| {
            let (first, last) = (run.first()?, run.last()?);
            let (lane, top) = (self.lanes.lane[*first], self.lanes.tops[*first] - OWNER_HEAD + 4);
            let bottom = self.lanes.tops[*last] + self.lanes.heights[*last] + 6;
            let at = Rect { x: self.lefts[lane] - 6, y: top, w: self.widths[lane] + 12, h: bottom - top };
            let label = Label { x: self.lefts[lane], y: top + 13, size: SMALL, text: shortened(owner(first), MOST_KEY) };
            Some(Band { at, label })
        };
        runs.filter(|run| self.lanes.owners && run.first().is_some_and(|node| owner(node) != HUB)).filter_map(band).collect()
    }
}

/// The second line of a box.
fn sub(graph: &Graph, node: &super::super::Node) -> String {
    use super::super::Role;
    let rung = crate::names::Rung::ALL.into_iter().find(|rung| graph.names.retry(*rung) == node.name);
    let text = match (node.role, rung) {
        (Role::Rung, Some(rung)) => format!("waits {}", rung.name()),
        (Role::Dead, _) => "dead letters".to_owned(),
        (Role::Work, _) => "work".to_owned(),
        (Role::Subscriber, _) => "subscriber".to_owned(),
        (Role::Device, _) => "device".to_owned(),
        _ => node.sort.clone(),
    };
    shortened(&text, MOST_NAME)
}

/// What stands above a branch: the first key, and how many more there are.
fn label(keys: &[String]) -> String {
    match keys {
        [] => String::new(),
        [key] => shortened(key, MOST_KEY),
        [key, more @ ..] => format!("{} +{}", shortened(key, MOST_KEY - 3), more.len()),
    }
}
