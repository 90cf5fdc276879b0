//! As DOT, for Graphviz.

use super::{Graph, Node, Role, Way};
use crate::exchange::ExchangeKind;

impl Graph {
    /// A DOT digraph, as [`Graph::mermaid`] shows it, with the arguments of each node as its tooltip.
    pub fn dot(&self) -> String {
        let mut text = "digraph topology {\n  rankdir=LR;\n  node [fontname=\"Helvetica\", style=filled, fontsize=11];\n  \
                        edge [fontname=\"Helvetica\", fontsize=9];\n"
            .to_owned();
        for (number, (owner, nodes)) in self.by_owner().into_iter().enumerate() {
            text += &format!("  subgraph cluster_{number} {{\n    label={};\n    style=rounded;\n", quoted(owner));
            for at in nodes {
                let node = &self.nodes[at];
                let (label, tooltip) = (quoted(&node.name), quoted(&node.told()));
                text += &format!("    n{at} [label={label}, {}, tooltip={tooltip}];\n", style(node));
            }
            text += "  }\n";
        }
        for edge in &self.edges {
            let style = match edge.way {
                Way::Binding => "solid",
                Way::DeadLetter => "dashed",
                Way::Alternate => "dotted",
            };
            let label = quoted(&edge.keys.join("\n"));
            text += &format!("  n{} -> n{} [style={style}, label={label}];\n", edge.from, edge.to);
        }
        text + "}\n"
    }
}

fn style(node: &Node) -> &'static str {
    match node.role {
        Role::Exchange(ExchangeKind::Direct) => "shape=ellipse, fillcolor=\"#eef1ff\"",
        Role::Exchange(ExchangeKind::Topic) => "shape=hexagon, fillcolor=\"#eef1ff\"",
        Role::Exchange(ExchangeKind::Fanout) => "shape=trapezium, fillcolor=\"#eef1ff\"",
        Role::Exchange(ExchangeKind::Headers) => "shape=octagon, fillcolor=\"#eef1ff\"",
        Role::Terminal => "shape=box, fillcolor=\"#eaeef2\"",
        Role::Work => "shape=box, fillcolor=\"#e3f5e8\"",
        Role::Subscriber => "shape=box, fillcolor=\"#dcf3f1\"",
        Role::Device => "shape=box, fillcolor=\"#f3e8ff\"",
        Role::Own => "shape=box, fillcolor=\"#ddf4ff\"",
        Role::Dead => "shape=box, fillcolor=\"#ffebe9\"",
        Role::Rung => "shape=box, fillcolor=\"#fff4d6\"",
    }
}

/// As a DOT string: only the quote and the backslash mean something in one.
fn quoted(text: &str) -> String {
    let escaped = text.chars().fold(String::new(), |out, c| match c {
        '"' => out + "\\\"",
        '\\' => out + "\\\\",
        '\n' => out + "\\n",
        c if c.is_control() => out + "?",
        c => out + &c.to_string(),
    });
    format!("\"{escaped}\"")
}
