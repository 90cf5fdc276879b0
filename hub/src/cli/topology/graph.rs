//! `warren topology graph`: the topology as a picture.

use broker_topology::{Graph as Picture, Names};
use clap::{Args, ValueEnum};

use super::merged;
use super::output::{Checked, Output};
use crate::cli::Surroundings;
use crate::cli::failure::Failure;
use crate::cli::print::talk;
use crate::cli::settings::Settings;

/// How many arrows Mermaid draws unless the page it stands on says otherwise.
const MERMAID: usize = 500;

#[derive(Debug, Args)]
pub(in crate::cli) struct Graph {
    /// svg: a drawing that needs no other program. mermaid: for Markdown. dot: for Graphviz
    #[arg(long, value_enum, default_value = "svg")]
    format: Format,
    /// Only what has to do with this exchange, queue or kind
    #[arg(long, value_name = "NAME")]
    focus: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Svg,
    Mermaid,
    Dot,
}

impl Graph {
    pub(super) fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.settings.load(around)?;
        let names = Names::new(&config.broker.prefix);
        let mut topology = merged(&config)?;
        if let Some(on) = &self.focus {
            topology = topology.focused(&names, on).ok_or_else(|| {
                Failure::failed(format!(
                    "there is no exchange, queue or kind `{on}` in this configuration: `warren topology graph` without --focus shows all there are"
                ))
            })?;
        }
        let picture = Picture::of(&topology, &names);
        let text = match self.format {
            Format::Svg => picture.svg(),
            Format::Dot => picture.dot(),
            Format::Mermaid => {
                if picture.arrows() > MERMAID {
                    let arrows = picture.arrows();
                    talk(&format!(
                        "warren: this has {arrows} arrows, and Mermaid draws {MERMAID} unless its `maxEdges` is set: --focus NAME shows less"
                    ));
                }
                picture.mermaid()
            }
        };
        let format = self.format.to_possible_value().map_or_else(String::new, |value| format!(" --format {}", value.get_name()));
        let focus = self.focus.as_ref().map(|on| format!(" --focus '{on}'")).unwrap_or_default();
        self.output.put(&text, &Checked { command: format!("graph{format}{focus}"), settings: &self.settings, private: false })
    }
}
