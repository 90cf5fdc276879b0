//! The layers, merged into one table.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::problem::Origin;
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
            let origin = Origin::File(path.clone());
            match read(path).and_then(|text| text.parse::<Table>().map_err(|error| error.to_string())) {
                Ok(table) => merge(&mut all, table, "", &origin, report),
                Err(error) => report.problem("", Some(origin), error.trim_end()),
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
    merge(all, table, "", origin, report);
}

/// Lays `over` on `under`: tables are merged, everything else is replaced.
fn merge(under: &mut Table, over: Table, path: &str, origin: &Origin, report: &Report) {
    for (name, value) in over {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (under.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above, &key, origin, report),
            (None, Value::Table(above)) => {
                let mut below = Table::new();
                merge(&mut below, above, &key, origin, report);
                under.insert(name, Value::Table(below));
            }
            (_, value) => {
                report.set_by(&key, origin);
                under.insert(name, value);
            }
        }
    }
}
