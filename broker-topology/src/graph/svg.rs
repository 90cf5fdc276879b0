//! As an SVG that a person can read: light and dark, with a legend, and tooltips that hold all arguments.

use std::fmt::Write;

use super::layout::{Label, NAME, Net, Picture, Placed, Rect, SMALL, Wire, width};
use super::{Graph, Role, Way, escaped};
use crate::exchange::ExchangeKind::{self, Direct, Fanout, Headers, Topic};

/// No variables: renderers outside browsers know none.
const STYLE: &str = "\
text{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1f2328}
.page{fill:#fff}.muted{fill:#57606a}.title{font-size:16px;font-weight:bold}
.key{fill:#424a53;paint-order:stroke;stroke:#fff;stroke-width:3px}
.band{fill:#f6f8fa;stroke:#d0d7de}
.box{stroke-width:1.5}
.exchange{fill:#eef1ff;stroke:#4f5bd5}.work{fill:#e3f5e8;stroke:#1a7f37}.subscriber{fill:#dcf3f1;stroke:#0f766e}
.own{fill:#ddf4ff;stroke:#0969da}.device{fill:#f3e8ff;stroke:#8250df}.terminal{fill:#eaeef2;stroke:#57606a}
.dead{fill:#ffebe9;stroke:#cf222e}.rung{fill:#fff4d6;stroke:#9a6700}
.wire{fill:none;stroke-width:1.5}.head{stroke:none}
.c-go{stroke:#4f5bd5}.c-dead{stroke:#cf222e}.c-back{stroke:#1a7f37}.c-wait{stroke:#9a6700}.c-rest{stroke:#57606a}
.f-go{fill:#4f5bd5}.f-dead{fill:#cf222e}.f-back{fill:#1a7f37}.f-wait{fill:#9a6700}.f-rest{fill:#57606a}
.dashed{stroke-dasharray:7 4}.dotted{stroke-dasharray:2 3}
g:hover>.wire{stroke-width:3}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.page{fill:#0d1117}.muted{fill:#9198a1}.key{fill:#c9d1d9;stroke:#0d1117}.band{fill:#161b22;stroke:#3d444d}
.exchange{fill:#1b2050;stroke:#8c96ff}.work{fill:#0f2d1a;stroke:#3fb950}.subscriber{fill:#0b2b2a;stroke:#2dd4bf}
.own{fill:#0c2d4a;stroke:#58a6ff}.device{fill:#2a1a45;stroke:#bc8cff}.terminal{fill:#21262d;stroke:#9198a1}
.dead{fill:#3c1618;stroke:#ff7b72}.rung{fill:#332a0c;stroke:#d29922}
.c-go{stroke:#8c96ff}.c-dead{stroke:#ff7b72}.c-back{stroke:#3fb950}.c-wait{stroke:#d29922}.c-rest{stroke:#9198a1}
.f-go{fill:#8c96ff}.f-dead{fill:#ff7b72}.f-back{fill:#3fb950}.f-wait{fill:#d29922}.f-rest{fill:#9198a1}
}";

const LEGEND_ROW: i32 = 30;

impl Graph {
    /// A drawing that needs no other program: exchanges by their shape, queues by their colour, dead-lettering dashed, alternate
    /// exchanges dotted. The same topology gives the same bytes.
    pub fn svg(&self) -> String {
        let picture = Picture::of(self);
        let legend = Legend::of(self, picture.width);
        let (width, height) = (picture.width.max(legend.width), picture.height + legend.height);
        let queues = self.nodes.iter().filter(|node| !node.is_exchange()).count();
        let mut out = String::new();
        let _ = self.drawn(&mut out, &picture, &legend, (width, height), queues);
        out
    }

    fn drawn(&self, out: &mut String, picture: &Picture, legend: &Legend, size: (i32, i32), queues: usize) -> std::fmt::Result {
        let (width, height) = size;
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-labelledby=\"title desc\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">"
        )?;
        writeln!(out, "<title id=\"title\">What Warren has on RabbitMQ</title>")?;
        writeln!(
            out,
            "<desc id=\"desc\">{} exchanges and {queues} queues with {} arrows between them, from left to right: exchanges that are published \
             to, queues that are worked on, exchanges for retries and dead letters, delays and dead letter queues, the way back.</desc>",
            self.nodes.len() - queues,
            self.edges.len(),
        )?;
        writeln!(out, "<style>{STYLE}</style>\n<rect class=\"page\" width=\"{width}\" height=\"{height}\"/>")?;
        writeln!(out, "<text class=\"title\" x=\"24\" y=\"36\">What Warren has on RabbitMQ</text>")?;
        for heading in &picture.headings {
            text(out, heading, "muted")?;
        }
        for band in &picture.bands {
            let Rect { x, y, w, h } = band.at;
            writeln!(out, "<rect class=\"band\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"8\"/>")?;
            text(out, &band.label, "muted")?;
        }
        for wire in &picture.wires {
            let net = &picture.nets[wire.net];
            drawn_wire(out, wire, self.colour(net), dashes(net.way))?;
        }
        for label in &picture.keys {
            text(out, label, "key")?;
        }
        for stands in &picture.boxes {
            self.drawn_box(out, stands)?;
        }
        legend.drawn(out, picture.height)?;
        writeln!(out, "</svg>")
    }

    fn drawn_box(&self, out: &mut String, stands: &Placed) -> std::fmt::Result {
        let node = &self.nodes[stands.node];
        write!(out, "<g><title>{}</title>{}", escaped(&node.told()), shape(node.role, stands.at))?;
        text(out, &stands.name, "name")?;
        text(out, &stands.sub, "muted")?;
        writeln!(out, "</g>")
    }

    /// The colour of a net: of what its exchange is for.
    fn colour(&self, net: &Net) -> &'static str {
        let (names, hub) = (&self.names, &self.nodes[net.hub]);
        match net.way {
            Way::Alternate => "rest",
            _ if hub.name == names.return_exchange() => "back",
            _ if hub.name == names.lost() => "rest",
            _ if hub.name.starts_with(&names.on_broker("warren.retry.")) => "wait",
            _ if hub.name == names.dead() => "dead",
            Way::DeadLetter => "dead",
            Way::Binding => "go",
        }
    }
}

fn dashes(way: Way) -> &'static str {
    match way {
        Way::Binding => "",
        Way::DeadLetter => " dashed",
        Way::Alternate => " dotted",
    }
}

fn text(out: &mut String, label: &Label, class: &str) -> std::fmt::Result {
    let Label { x, y, size, text } = label;
    writeln!(out, "<text class=\"{class}\" font-size=\"{size}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(text))
}

fn drawn_wire(out: &mut String, wire: &Wire, colour: &str, dashes: &str) -> std::fmt::Result {
    let points: Vec<String> = wire.points.iter().map(|(x, y)| format!("{x} {y}")).collect();
    write!(
        out,
        "<g><title>{}</title><path class=\"wire c-{colour}{dashes}\" d=\"M{}\"/>",
        escaped(&wire.told),
        points.join("L")
    )?;
    if let Some((x, y)) = wire.joint {
        write!(out, "<circle class=\"head f-{colour}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>")?;
    }
    if let Some((x, y)) = wire.points.last().filter(|_| wire.arrow) {
        write!(out, "<path class=\"head f-{colour}\" d=\"M{x} {y}l-8 -4v8z\"/>")?;
    }
    writeln!(out, "</g>")
}

/// Queues are boxes with a bar, exchanges have a shape per type.
fn shape(role: Role, at: Rect) -> String {
    let Rect { x, y, w, h } = at;
    let (right, middle, bottom) = (x + w, y + h / 2, y + h);
    let path = |d: String| format!("<path class=\"box exchange\" d=\"{d}\"/>");
    match role {
        Role::Exchange(Direct) => {
            format!("<rect class=\"box exchange\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"{}\"/>", h.min(48) / 2)
        }
        Role::Exchange(Topic) => {
            path(format!("M{x} {middle}L{} {y}H{}L{right} {middle}L{} {bottom}H{}Z", x + 14, right - 14, right - 14, x + 14))
        }
        // A side is vertical where lines meet it, so that they do.
        Role::Exchange(Fanout) => {
            path(format!("M{x} {}L{} {y}H{right}V{bottom}H{}L{x} {}Z", y + 12, x + 14, x + 14, bottom - 12))
        }
        Role::Exchange(Headers) => path(format!(
            "M{x} {}L{} {y}H{}L{right} {}V{}L{} {bottom}H{}L{x} {}Z",
            y + 12,
            x + 12,
            right - 12,
            y + 12,
            bottom - 12,
            right - 12,
            x + 12,
            bottom - 12
        )),
        queue => format!(
            "<rect class=\"box {0}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"4\"/><path class=\"box {0}\" d=\"M{1} {y}V{bottom}\"/>",
            queue.word(),
            x + 7
        ),
    }
}

/// What shapes, colours and lines mean: of those that are there.
struct Legend {
    items: Vec<Item>,
    width: i32,
    height: i32,
}

struct Item {
    /// Relative to the legend.
    x: i32,
    y: i32,
    sign: Sign,
    text: String,
}

#[derive(Clone, Copy)]
enum Sign {
    Shape(Role),
    Line(&'static str, Way),
}

const SIGN: i32 = 44;

impl Legend {
    fn of(graph: &Graph, room: i32) -> Self {
        let roles: std::collections::BTreeSet<Role> = graph.nodes.iter().map(|node| node.role).collect();
        let shapes = roles.into_iter().map(|role| {
            let text = match role {
                Role::Exchange(kind) => format!("{kind} exchange"),
                Role::Terminal => "the hub's own queue".to_owned(),
                Role::Work => "queue of a kind".to_owned(),
                Role::Subscriber => "queue of a subscriber".to_owned(),
                Role::Device => "queue of a device".to_owned(),
                Role::Own => "another queue".to_owned(),
                Role::Dead => "dead letters".to_owned(),
                Role::Rung => "delay".to_owned(),
            };
            (Sign::Shape(role), text)
        });
        let lines = [
            (Sign::Line("go", Way::Binding), "binding; its key, unless that is the queue's name"),
            (Sign::Line("dead", Way::DeadLetter), "dead-lettered by the broker"),
            (Sign::Line("rest", Way::Alternate), "alternate exchange"),
        ];
        let lines = lines.map(|(sign, text)| (sign, text.to_owned()));
        let there = |(sign, _): &(Sign, String)| match sign {
            Sign::Line(_, way) => graph.edges.iter().any(|edge| edge.way == *way),
            Sign::Shape(_) => true,
        };
        let (mut x, mut y, mut most, mut items) = (24, 0, 0, Vec::new());
        for (sign, text) in shapes.chain(lines).filter(there) {
            let wide = SIGN + 8 + width(&text, SMALL) + 24;
            if x > 24 && x + wide > room {
                (x, y) = (24, y + LEGEND_ROW);
            }
            items.push(Item { x, y, sign, text });
            x += wide;
            most = most.max(x);
        }
        Self { items, width: most, height: y + LEGEND_ROW + 16 }
    }

    fn drawn(&self, out: &mut String, top: i32) -> std::fmt::Result {
        for item in &self.items {
            let (x, y) = (item.x, top + item.y);
            match item.sign {
                Sign::Shape(role) => write!(out, "{}", shape(role, Rect { x, y, w: SIGN, h: 20 }.for_legend(role)))?,
                Sign::Line(colour, way) => {
                    write!(out, "<path class=\"wire c-{colour}{}\" d=\"M{x} {1}H{2}\"/>", dashes(way), y + 10, x + SIGN)?;
                }
            }
            text(out, &Label { x: x + SIGN + 8, y: y + 10 + NAME / 3, size: SMALL, text: item.text.clone() }, "muted")?;
        }
        Ok(())
    }
}

impl Rect {
    /// Corners that are cut by 12 need 24.
    fn for_legend(self, role: Role) -> Self {
        match role {
            Role::Exchange(ExchangeKind::Fanout | ExchangeKind::Headers) => Self { y: self.y - 3, h: 26, ..self },
            _ => self,
        }
    }
}
