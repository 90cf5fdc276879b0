//! `warren dead edit`.

use std::io::Read;

use clap::Args;
use uuid::Uuid;

use super::super::Surroundings;
use super::super::client::Reach;
use super::super::failure::Failure;
use super::super::print::{self, Fields, talk};
use crate::admin::view::EditView;

#[derive(Debug, Args)]
pub(in super::super) struct Edit {
    /// The dead letter
    id: String,
    /// The new body: @FILE, @- for standard input, or the text itself
    #[arg(long, value_name = "BODY")]
    body: String,
    /// Why; kept on record
    #[arg(long, default_value = "")]
    note: String,
    /// A name for the request: asked twice with it, one is made [default: one made here]
    #[arg(long, value_name = "NAME")]
    request_id: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Edit {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let body = read(&self.body, around)?;
        let hub = self.reach.hub(around)?;
        let request = self.request_id.unwrap_or_else(|| Uuid::now_v7().to_string());
        let query = [("note", Some(self.note).filter(|note| !note.is_empty()))];
        let sent = hub.send(&["dead-letters", &self.id, "edit"], &query, &request, body).await;
        let view: EditView =
            sent.inspect_err(|_| talk(&format!("the request was named {request}: with --request-id it is the same one")))?;
        if self.json {
            return print::json(&view);
        }
        let fields = Fields::default()
            .maybe("job", view.job_id)
            .maybe("message", view.message_id)
            .maybe("edited from", view.edited_from)
            .with("letter", view.letter.id)
            .maybe("replayed", view.replayed.then_some("this was asked before"));
        print::data(&fields.render())
    }
}

fn read(text: &str, around: &Surroundings) -> Result<Vec<u8>, Failure> {
    match text.strip_prefix('@') {
        None => Ok(text.as_bytes().to_vec()),
        Some("-") => {
            let mut body = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut body);
            read.map(|_| body).map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))
        }
        Some(file) => {
            let path = around.folder.join(file);
            std::fs::read(&path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
        }
    }
}
