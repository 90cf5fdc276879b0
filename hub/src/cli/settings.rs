//! Flags that make up the configuration, and those that lead to a running hub.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Surroundings;
use super::failure::Failure;
use super::print::talk;
use crate::config::{Config, ConfigError, Loaded, Problem, Sources};

/// What is read when no file is named.
const DEFAULT_FILE: &str = "warren.toml";

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Settings {
    /// A configuration file; give it several times, later ones win [default: warren.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Vec<PathBuf>,
    /// One setting, over files and environment, as in `--set log.level=debug`
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) set: Vec<(String, String)>,
    /// Unknown keys are warnings, for going back to an older version
    #[arg(long)]
    pub(super) lenient: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write KEY=VALUE, as in log.level=debug")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Settings {
    /// All layers; warnings are told.
    pub(super) fn load(&self, around: &Surroundings) -> Result<Config, Failure> {
        self.load_with(around, &around.folder, &[])
    }

    /// All layers, `warren.toml` and default data in `folder`, under `flags`.
    pub(super) fn load_with(&self, around: &Surroundings, folder: &Path, flags: &[(String, String)]) -> Result<Config, Failure> {
        let Loaded { config, warnings, .. } = self.read(around, folder, flags)?;
        for warning in warnings {
            talk(&format!("warren: let pass: {warning}"));
        }
        Ok(config)
    }

    /// All layers, and everything that is to be said of them, good or bad.
    pub(super) fn examine(&self, around: &Surroundings) -> (Option<Config>, Vec<Problem>) {
        match self.read(around, &around.folder, &[]) {
            Ok(Loaded { config, warnings, hints }) => (Some(config), [warnings, hints].concat()),
            Err(ConfigError { problems, hints }) => (None, [problems, hints].concat()),
        }
    }

    fn read(&self, around: &Surroundings, folder: &Path, flags: &[(String, String)]) -> Result<Loaded, ConfigError> {
        let mut files = self.config.clone();
        let default = folder.join(DEFAULT_FILE);
        if files.is_empty() && default.is_file() {
            files.push(default);
        }
        let flags: Vec<(String, String)> = flags.iter().chain(&self.set).cloned().collect();
        let data_dir = if folder == Path::new(".") { Path::new("") } else { folder };
        let sources = Sources { files: &files, variables: &around.variables, flags: &flags, data_dir, lenient: self.lenient };
        Config::load(&sources)
    }
}
