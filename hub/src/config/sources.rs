//! The layers, merged into one table.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::lines::{Lines, place};
use super::problem::{Fault, Origin};
use super::section::Report;

/// What a configuration is read from; the process environment is handed in, so that a test is exact.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// `--config` files in their order; later ones win.
    pub files: &'a [PathBuf],
    /// The environment: name and value.
    pub variables: &'a [(String, String)],
    /// What flags set: key such as `store.url`, and the text of its value.
    pub flags: &'a [(String, String)],
    /// Where the default SQLite file lives.
    pub data_dir: &'a Path,
    /// Unknown keys are warnings: for rolling back to a binary that does not know them yet.
    pub lenient: bool,
}

impl Default for Sources<'_> {
    /// Nothing set, data in the current folder.
    fn default() -> Self {
        Self { files: &[], variables: &[], flags: &[], data_dir: Path::new("."), lenient: false }
    }
}

const PREFIX: &str = "WARREN__";
const FROM_FILE: &str = "__FILE";
/// What other programs call the same thing; below everything but the defaults.
const FALLBACKS: [(&str, &str); 4] = [
    ("AMQP_URL", "broker.url"),
    ("DATABASE_URL", "store.url"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "tracing.endpoint"),
    ("OTEL_SERVICE_NAME", "tracing.service"),
];

impl Sources<'_> {
    pub(super) fn merge(&self, report: &Report) -> Table {
        let mut all = Table::new();
        for (name, value) in self.variables {
            let known = FALLBACKS.iter().find(|(fallback, _)| fallback == name);
            if let Some((_, key)) = known.filter(|_| !value.is_empty()) {
                set(&mut all, key, value, &Origin::Variable(name.clone()), report);
            }
        }
        for path in self.files {
            let origin = |line| Origin::File { path: path.clone(), line };
            let text = match read(path) {
                Ok(text) => text,
                Err(error) => {
                    report.fault("", Some(origin(None)), Fault::UNREADABLE, error);
                    continue;
                }
            };
            match text.parse::<Table>() {
                Ok(table) => {
                    let lines = Lines::of(&text);
                    merge(&mut all, table, "", &Layer::File(path, &lines), report);
                }
                // Without the line itself, which may hold a secret.
                Err(error) => {
                    let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
                    let why = format!("is no TOML at character {column}: {}", error.message());
                    report.fault("", Some(origin(Some(line))), Fault::UNREADABLE, why);
                }
            }
        }
        self.merge_variables(&mut all, report);
        for (key, value) in self.flags {
            set(&mut all, key, value, &Origin::Flag, report);
        }
        all
    }

    fn merge_variables(&self, all: &mut Table, report: &Report) {
        for (name, value) in self.variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let origin = Origin::Variable(name.clone());
            let key = |rest: &str| rest.to_ascii_lowercase().replace("__", ".");
            match rest.strip_suffix(FROM_FILE) {
                None => set(all, &key(rest), value, &origin, report),
                Some(rest) if self.variables.iter().any(|(other, _)| other.strip_prefix(PREFIX) == Some(rest)) => {
                    report.problem(&key(rest), Some(origin), format!("is set twice: remove this one or {PREFIX}{rest}"));
                }
                Some(rest) => match read(Path::new(value)) {
                    Ok(text) => set(all, &key(rest), text.trim(), &origin, report),
                    Err(error) => report.problem(&key(rest), Some(origin), error),
                },
            }
        }
    }
}

/// The text of a file; the error names it.
pub(super) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn set(all: &mut Table, key: &str, value: &str, origin: &Origin, report: &Report) {
    let mut path = key.rsplit('.');
    let last = path.next().unwrap_or_default();
    let leaf = Table::from_iter([(last.to_owned(), Value::String(value.to_owned()))]);
    let table = path.fold(leaf, |inner, name| Table::from_iter([(name.to_owned(), Value::Table(inner))]));
    merge(all, table, "", &Layer::Other(origin), report);
}

/// Where a table comes from.
enum Layer<'a> {
    /// This file, with the lines of its keys.
    File(&'a Path, &'a Lines),
    /// A single key from elsewhere.
    Other(&'a Origin),
}

impl Layer<'_> {
    /// `key` is as this layer has it, with all that is inside.
    fn sets(&self, key: &str, report: &Report) {
        match self {
            Self::Other(origin) => report.set_by(key, origin),
            Self::File(path, lines) => {
                report.set_by(key, &Origin::File { path: path.to_path_buf(), line: lines.get(key) });
                for (inside, line) in lines.under(key) {
                    report.begun_by(inside, &Origin::File { path: path.to_path_buf(), line: Some(line) });
                }
            }
        }
    }

    /// The table `key` is in this layer.
    fn begins(&self, key: &str, report: &Report) {
        if let Self::File(path, lines) = self {
            report.begun_by(key, &Origin::File { path: path.to_path_buf(), line: lines.get(key) });
        }
    }
}

/// Lays `over` on `under`: tables are merged, everything else is replaced.
fn merge(under: &mut Table, over: Table, path: &str, layer: &Layer<'_>, report: &Report) {
    for (name, value) in over {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (under.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                layer.begins(&key, report);
                merge(below, above, &key, layer, report);
            }
            (None, Value::Table(above)) => {
                layer.begins(&key, report);
                let mut below = Table::new();
                merge(&mut below, above, &key, layer, report);
                under.insert(name, Value::Table(below));
            }
            (_, value) => {
                layer.sets(&key, report);
                under.insert(name, value);
            }
        }
    }
}
