//! As Mermaid, which GitHub and many wikis draw.

use super::{Graph, Node, Role, Way};
use crate::exchange::ExchangeKind;

const STYLES: &str = "    classDef exchange fill:#eef1ff,stroke:#4f5bd5,color:#1f2328
    classDef work fill:#e3f5e8,stroke:#1a7f37,color:#1f2328
    classDef subscriber fill:#dcf3f1,stroke:#0f766e,color:#1f2328
    classDef own fill:#ddf4ff,stroke:#0969da,color:#1f2328
    classDef device fill:#f3e8ff,stroke:#8250df,color:#1f2328
    classDef terminal fill:#eaeef2,stroke:#57606a,color:#1f2328
    classDef dead fill:#ffebe9,stroke:#cf222e,color:#1f2328
    classDef rung fill:#fff4d6,stroke:#9a6700,color:#1f2328
";

impl Graph {
    /// A Mermaid flowchart: owners as subgraphs, exchanges by their shape, queues by their colour, dead-lettering dashed, alternate
    /// exchanges dotted. The same topology gives the same bytes.
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (number, (owner, nodes)) in self.by_owner().into_iter().enumerate() {
            text += &format!("    subgraph owner{number}[\"{}\"]\n", quoted(owner));
            for at in nodes {
                let node = &self.nodes[at];
                text += &format!("        n{at}{}:::{}\n", shape(node), node.role.word());
            }
            text += "    end\n";
        }
        for edge in &self.edges {
            let arrow = if edge.way == Way::Binding { "-->" } else { "-.->" };
            let keys = if edge.keys.is_empty() { String::new() } else { format!("|\"{}\"|", quoted(&edge.keys.join(", "))) };
            text += &format!("    n{} {arrow}{keys} n{}\n", edge.from, edge.to);
        }
        for (way, dashes) in [(Way::DeadLetter, "8 4"), (Way::Alternate, "2 3")] {
            let those = self.edges.iter().enumerate().filter(|(_, edge)| edge.way == way);
            let numbers: Vec<String> = those.map(|(number, _)| number.to_string()).collect();
            if !numbers.is_empty() {
                text += &format!("    linkStyle {} stroke-dasharray:{dashes}\n", numbers.join(","));
            }
        }
        text + STYLES
    }
}

fn shape(node: &Node) -> String {
    let name = quoted(&node.name);
    match node.role {
        Role::Exchange(ExchangeKind::Direct) => format!("([\"{name}\"])"),
        Role::Exchange(ExchangeKind::Topic) => format!("{{{{\"{name}\"}}}}"),
        Role::Exchange(ExchangeKind::Fanout) => format!("[/\"{name}\"\\]"),
        Role::Exchange(ExchangeKind::Headers) => format!("[[\"{name}\"]]"),
        _ => format!("[\"{name}\"]"),
    }
}

/// What may stand between quotes: Mermaid knows entities by number, and takes `#` and `;` for part of them.
fn quoted(text: &str) -> String {
    text.chars().fold(String::new(), |out, c| match c {
        c if c.is_ascii_alphanumeric() || " .-_/:,=".contains(c) || !c.is_ascii() && !c.is_control() => out + &c.to_string(),
        c => format!("{out}#{};", u32::from(c)),
    })
}
