//! Where everything stands in the SVG: a wiring diagram with lanes from left to right and no line through a box.
//!
//! ```text
//! publish to | worked on | dead, retry | letters, delays | the way back | last resort
//!   exchange --+-> queue --+
//!              |           +-----> exchange ---> queue --> exchange --+
//!              +-> queue --+                                          |
//!          ^---------------------------- highway ---------------------+
//! ```
//!
//! Edges that share an exchange are one *net*: a vertical trunk in the channel before or after a lane, with a branch to each node. What
//! is not in neighbouring lanes goes by a highway below all nodes. Lines never lie on one another, by construction: each net has its
//! own track in a channel and its own highway, what enters a node does so at heights that are multiples of 8, what leaves it at those
//! that are 4 more.

mod lanes;
mod wires;

use super::{Graph, Way};

/// Between the heights at which lines meet one side of a node, so that a label fits between two.
const PITCH: i32 = 16;
const NODE_HEIGHT: i32 = 48;
const GAP: i32 = 16;
const TRACK: i32 = 12;
const MARGIN: i32 = 24;
/// Room for the title and the headings of lanes.
const HEAD: i32 = 88;
/// Room for the owner's name above a run of its nodes.
const OWNER_HEAD: i32 = 24;
const MOST_NAME: usize = 44;
const MOST_KEY: usize = 28;

/// Text sizes in pixels.
pub(super) const NAME: i32 = 13;
pub(super) const SMALL: i32 = 11;

/// How wide `text` is at most, in a fixed-width font: the widest that are in use advance by 0.61 of their size, wide characters by twice
/// that.
pub(super) fn width(text: &str, size: i32) -> i32 {
    let cells: i32 = text.chars().map(|c| if c < '\u{1100}' || c == '…' { 1 } else { 2 }).sum();
    (cells * size * 63 + 99) / 100
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) w: i32,
    pub(super) h: i32,
}

/// A line of text; `y` is its baseline.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) size: i32,
    pub(super) text: String,
}

impl Label {
    #[cfg(test)]
    fn place(&self) -> Rect {
        Rect { x: self.x, y: self.y - self.size, w: width(&self.text, self.size), h: self.size + 2 }
    }
}

/// A line with its corners, and what it says to who points at it.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) net: usize,
    pub(super) points: Vec<(i32, i32)>,
    /// Whether its last point has an arrow head; it comes from the left.
    pub(super) arrow: bool,
    /// Where it begins at another wire of its net.
    pub(super) joint: Option<(i32, i32)>,
    pub(super) told: String,
}

/// One node: its box, and its two lines of text.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) node: usize,
    pub(super) at: Rect,
    pub(super) name: Label,
    pub(super) sub: Label,
}

/// Nodes of one owner that stand together.
#[derive(Clone, Debug)]
pub(super) struct Band {
    pub(super) at: Rect,
    pub(super) label: Label,
}

/// A set of edges that share the exchange they leave, or the one they enter.
#[derive(Clone, Debug)]
pub(super) struct Net {
    pub(super) way: Way,
    /// The node that all have in common: the source of bindings, the target of everything else.
    pub(super) hub: usize,
    /// The other ends, with their edges.
    pub(super) spokes: Vec<(usize, usize)>,
}

impl Net {
    fn of(graph: &Graph) -> Vec<Self> {
        let mut nets: Vec<Self> = Vec::new();
        for (at, edge) in graph.edges.iter().enumerate() {
            let (hub, spoke) = if edge.way == Way::Binding { (edge.from, edge.to) } else { (edge.to, edge.from) };
            match nets.iter_mut().find(|net| net.way == edge.way && net.hub == hub) {
                Some(net) => net.spokes.push((spoke, at)),
                None => nets.push(Self { way: edge.way, hub, spokes: vec![(spoke, at)] }),
            }
        }
        nets
    }

    /// Whether its lines leave the hub, on its right.
    fn outward(&self) -> bool {
        self.way == Way::Binding
    }
}

/// All that is drawn.
pub(super) struct Picture {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) headings: Vec<Label>,
    pub(super) boxes: Vec<Placed>,
    pub(super) bands: Vec<Band>,
    pub(super) nets: Vec<Net>,
    pub(super) wires: Vec<Wire>,
    /// Keys, each above its branch.
    pub(super) keys: Vec<Label>,
}

impl Picture {
    pub(super) fn of(graph: &Graph) -> Self {
        let nets = Net::of(graph);
        let lanes = lanes::Lanes::of(graph, &nets);
        wires::wired(graph, nets, &lanes)
    }
}

#[cfg(test)]
mod tests;
