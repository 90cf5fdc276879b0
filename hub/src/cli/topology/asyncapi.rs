//! `warren topology asyncapi`: the messages on the broker, as a document.

use clap::Args;

use super::merged;
use super::output::{Checked, Output};
use crate::asyncapi::Ground;
use crate::cli::Surroundings;
use crate::cli::failure::Failure;
use crate::cli::settings::Settings;
use crate::hub;

#[derive(Debug, Args)]
pub(in crate::cli) struct AsyncApi {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

impl AsyncApi {
    pub(super) fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let config = self.settings.load(around)?;
        let document = Ground::new(&config.broker, merged(&config)?, true).document(&hub::kinds(&config));
        let text = serde_json::to_string_pretty(&document);
        let text = text.map_err(|error| Failure::failed(format!("cannot print the document: {error}")))?;
        self.output.put(&(text + "\n"), &Checked { command: "asyncapi".to_owned(), settings: &self.settings, private: false })
    }
}
