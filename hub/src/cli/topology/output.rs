//! Where what is made of the topology goes: to stdout, to a file, or nowhere, when it is only compared with one.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::print::{self, talk};
use crate::cli::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct Output {
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write nothing; fail when this file is not what would be written
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    check: Option<PathBuf>,
}

/// How a stale file is made anew.
pub(super) struct Checked<'a> {
    /// The words after `warren topology`.
    pub(super) command: String,
    pub(super) settings: &'a Settings,
    /// Whether a file of it is for its owner alone.
    pub(super) private: bool,
}

impl Output {
    /// Puts `text` where it was asked for.
    pub(super) fn put(&self, text: &str, made: &Checked<'_>) -> Result<(), Failure> {
        let Some(path) = &self.check else {
            return match &self.output {
                None => print::data(text),
                Some(path) => written(path, text, made.private)
                    .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display()))),
            };
        };
        let found =
            std::fs::read_to_string(path).map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
        if found == text {
            talk(&format!("{} is up to date", path.display()));
            return Ok(());
        }
        Err(Failure::failed(format!(
            "{0} is stale: make it anew with `warren topology {1}{2} --output {0}`",
            path.display(),
            made.command,
            words(made.settings)
        )))
    }
}

/// What `settings` was on the command line. Values of `--set` are left out, which may be secrets; nor is there a shell to be wary of then.
fn words(settings: &Settings) -> String {
    let Settings { config, set, lenient } = settings;
    let config = config.iter().map(|file| format!(" --config {}", file.display()));
    let set = set.iter().map(|(key, _)| format!(" --set {key}=..."));
    config.chain(set).chain(lenient.then(|| " --lenient".to_owned())).collect()
}

/// One that was there before with other rights is not left with them while it is written.
fn written(path: &Path, text: &str, private: bool) -> std::io::Result<()> {
    if !private {
        return std::fs::write(path, text);
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // Of a pipe or a device there is nothing to change.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_the_same_command_without_its_secrets() {
        let settings = Settings {
            config: vec!["a.toml".into(), "b.toml".into()],
            set: vec![("broker.prefix".to_owned(), "x.".to_owned()), ("broker.url".to_owned(), "amqp://u:canary@h".to_owned())],
            lenient: true,
        };
        assert_eq!(words(&settings), " --config a.toml --config b.toml --set broker.prefix=... --set broker.url=... --lenient");
        assert_eq!(words(&Settings::default()), "");
    }
}
