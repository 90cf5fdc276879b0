//! Many dead letters at once: freeze them, tell how many, ask, and watch.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::super::Surroundings;
use super::super::client::{Hub, Reach};
use super::super::failure::Failure;
use super::super::jobs::word;
use super::super::print::{self, Fields, Table, short, talk, time};
use crate::admin::view::SelectionView;

#[derive(Debug, Args)]
pub(in super::super) struct Show {
    /// The selection
    id: String,
    /// Refusals after this number
    #[arg(long, default_value_t = 0)]
    after: i32,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Show {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let after = [("after", Some(self.after.to_string()))];
        let path = ["dead-letters", "selections", &self.id];
        let view: SelectionView = self.reach.hub(around)?.get(&path, &after).await?;
        if self.json { print::json(&view) } else { print::data(&detail(&view)) }
    }
}

/// How what is asked is said.
pub(super) struct Ask<'a> {
    /// `redrive` or `discard`.
    pub(super) verb: &'static str,
    /// What narrows the letters down.
    pub(super) filter: Value,
    /// What goes with the verb.
    pub(super) order: Value,
    pub(super) yes: bool,
    pub(super) json: bool,
    pub(super) reach: &'a Reach,
}

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// A token made here is good for five minutes: after so many looks another one is made.
const LOOKS: u32 = 120;

/// Freezes the letters, tells how many they are, asks, has it done, and waits for the end.
pub(super) async fn act(ask: Ask<'_>, around: &Surroundings) -> Result<(), Failure> {
    let hub = ask.reach.hub(around)?;
    let frozen: SelectionView = hub.post(&["dead-letters", "selections"], ask.filter).await?;
    let more = if frozen.capped { ", the newest of more: run this again for the others" } else { "" };
    talk(&format!("{} open dead letters match{more}", frozen.count));
    for letter in &frozen.sample {
        talk(&format!("  {}  {}  {}", letter.id, letter.queue, short(&print::shown(&letter.error), 80)));
    }
    if frozen.count == 0 {
        return show(&frozen, ask.json);
    }
    if !ask.yes {
        agree(ask.verb, &frozen)?;
    }
    let id = frozen.id.to_string();
    let path = ["dead-letters", "selections", &id];
    let _: SelectionView = hub.post(&[path[0], path[1], path[2], ask.verb], ask.order).await?;
    talk(&format!("the hub does it, also without this command: `warren dead selection {id}` tells how far it is"));
    let done = watch(&path, hub, ask.reach, around).await?;
    show(&done, ask.json)?;
    match done.refused {
        0 => Ok(()),
        refused => {
            Err(Failure::failed(format!("{refused} of {} were refused: `warren dead selection {id}` tells why", done.count)))
        }
    }
}

async fn watch(path: &[&str], mut hub: Hub, reach: &Reach, around: &Surroundings) -> Result<SelectionView, Failure> {
    let (mut looks, mut told) = (0, 0);
    loop {
        let view: SelectionView = hub.get(path, &[]).await?;
        let handled = view.moved + view.refused;
        if view.finished_at.is_some() {
            return Ok(view);
        }
        if handled != told {
            talk(&format!("{handled} of {} had their turn, {} refused", view.count, view.refused));
            told = handled;
        }
        looks += 1;
        if looks % LOOKS == 0 {
            hub = reach.hub(around)?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn agree(verb: &str, frozen: &SelectionView) -> Result<(), Failure> {
    let no = || Failure::failed("nothing was moved");
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("this would {verb} {} dead letters: add --yes to do it", frozen.count)));
    }
    talk(&format!("{verb} them all? Type yes:"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|_| no())?;
    if line.trim() == "yes" { Ok(()) } else { Err(no()) }
}

fn show(view: &SelectionView, json: bool) -> Result<(), Failure> {
    if json { print::json(view) } else { print::data(&detail(view)) }
}

fn detail(view: &SelectionView) -> String {
    let fields = Fields::default()
        .with("selection", view.id)
        .with("filter", &view.filter)
        .with("by", &view.created_by)
        .with("created", time(view.created_at))
        .maybe("expires", view.action.is_none().then(|| time(view.expires_at)))
        .maybe("action", view.action.map(word))
        .with("actor", &view.actor)
        .with("note", &view.note)
        .maybe("rate", view.rate.map(|rate| format!("{rate} per second")))
        .maybe("finished", view.finished_at.map(time))
        .with("letters", view.count)
        .with("waiting", view.waiting)
        .with("moved", view.moved)
        .with("refused", view.refused);
    if view.refusals.is_empty() {
        return fields.render();
    }
    let mut refusals = Table::new(["NUMBER", "LETTER", "WHY"]);
    for refusal in &view.refusals {
        refusals.row([refusal.number.to_string(), refusal.letter.to_string(), refusal.why.clone()]);
    }
    format!("{}\n{}", fields.render(), refusals.render())
}
