//! One table being read: every key asked for is a known one, what is left over at the end is not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::problem::{Fault, Origin, Problem};
use super::value::FromValue;

/// What is gathered while reading: problems, warnings, and where each key was set.
pub(super) struct Report {
    lenient: bool,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    origins: BTreeMap<String, Origin>,
}

impl Report {
    pub(super) fn new(lenient: bool) -> Self {
        Self { lenient, found: RefCell::default() }
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.found.borrow().problems.is_empty()
    }

    /// Whether all files could be read, and all values in these sections.
    pub(super) fn spares(&self, sections: &[&str]) -> bool {
        let within = |key: &str| {
            sections
                .iter()
                .any(|section| key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
        };
        let spares = |problem: &Problem| problem.code() == Fault::UNKNOWN || !problem.key.is_empty() && !within(&problem.key);
        self.found.borrow().problems.iter().all(spares)
    }

    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let found = self.found.into_inner();
        (found.problems, found.warnings)
    }

    /// `key` was set, and nothing of what was set before is left of it.
    pub(super) fn set_by(&self, key: &str, origin: &Origin) {
        let mut found = self.found.borrow_mut();
        found.origins.retain(|set, _| set.strip_prefix(key).is_none_or(|rest| !rest.starts_with('[')));
        found.origins.insert(key.to_owned(), origin.clone());
    }

    /// The table `key` was begun; another layer may have done so before.
    pub(super) fn begun_by(&self, key: &str, origin: &Origin) {
        self.found.borrow_mut().origins.entry(key.to_owned()).or_insert_with(|| origin.clone());
    }

    pub(super) fn problem(&self, key: &str, origin: Option<Origin>, text: impl Into<String>) {
        self.fault(key, origin, Fault::VALUE, text);
    }

    pub(super) fn fault(&self, key: &str, origin: Option<Origin>, code: &'static str, text: impl Into<String>) {
        self.found.borrow_mut().problems.push(Problem::new(key, origin, code, text));
    }

    fn unknown(&self, key: &str, text: String) {
        let problem = Problem::new(key, self.origin(key), Fault::UNKNOWN, text);
        let mut found = self.found.borrow_mut();
        if self.lenient { found.warnings.push(problem.into_warning()) } else { found.problems.push(problem) }
    }

    /// Where `key`, or the table or array it is part of, was set last; or where something inside it was.
    pub(super) fn origin(&self, key: &str) -> Option<Origin> {
        let found = self.found.borrow();
        let ends = key.char_indices().filter(|(_, c)| matches!(c, '.' | '[')).map(|(at, _)| at);
        let prefixes: Vec<&str> = ends.map(|at| &key[..at]).chain([key]).collect();
        let above = prefixes.iter().rev().find_map(|prefix| found.origins.get(*prefix));
        let inside = || found.origins.iter().find(|(set, _)| set.starts_with(&format!("{key}."))).map(|(_, origin)| origin);
        above.or_else(inside).cloned()
    }
}

/// A table and its place in the whole.
pub(super) struct Section<'a> {
    table: Table,
    path: String,
    known: BTreeSet<&'static str>,
    report: &'a Report,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: Table, report: &'a Report) -> Self {
        Self { table, path: String::new(), known: BTreeSet::new(), report }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.insert(key);
        self.table.remove(key)
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports `text` about `key` of this section.
    pub(super) fn problem(&self, key: &str, text: impl Into<String>) {
        let full = self.full(key);
        let origin = self.report.origin(&full);
        self.report.problem(&full, origin, text);
    }

    /// The value of `key` if it is set and fine; a value that is not is reported.
    pub(super) fn opt<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        self.convert(key, &value)
    }

    /// The value of `key`, if it is there, within `range`.
    pub(super) fn maybe_within<T: FromValue + PartialOrd>(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<T>,
        wants: &str,
    ) -> Option<T> {
        let value: T = self.opt(key)?;
        if range.contains(&value) {
            return Some(value);
        }
        self.problem(key, format!("must be {wants}"));
        None
    }

    /// The value of `key`; its absence is reported with `hint`.
    pub(super) fn required<T: FromValue>(&mut self, key: &'static str, hint: &str) -> Option<T> {
        if !self.table.contains_key(key) {
            self.problem(key, format!("is missing: {hint}"));
        }
        self.opt(key)
    }

    /// The value of `key`, or `default`.
    pub(super) fn get<T: FromValue>(&mut self, key: &'static str, default: T) -> T {
        self.opt(key).unwrap_or(default)
    }

    /// The value of `key`, or `default`; one outside `range` is reported as `wants`.
    pub(super) fn within<T: FromValue + PartialOrd + Copy>(
        &mut self,
        key: &'static str,
        default: T,
        range: std::ops::RangeInclusive<T>,
        wants: &str,
    ) -> T {
        let value = self.get(key, default);
        if range.contains(&value) {
            return value;
        }
        self.problem(key, format!("must be {wants}"));
        default
    }

    fn convert<T: FromValue>(&self, key: &str, value: &Value) -> Option<T> {
        let full = self.full(key);
        let origin = self.report.origin(&full);
        let mut result = T::from_value(value);
        // A variable and a flag hold text: where text is not wanted, it is read as a TOML value.
        if let (Err(_), Some(Origin::Variable(_) | Origin::Flag), Value::String(text)) = (&result, &origin, value)
            && let Some(read) =
                toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut table| table.remove("value"))
        {
            result = T::from_value(&read);
        }
        result.map_err(|text| self.report.problem(&full, origin, text)).ok()
    }

    /// The table under `key`; empty when there is none.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(_) => {
                self.problem(key, format!("must be a table: write `[{key}]`"));
                Table::new()
            }
        };
        Section { table, path: self.full(key), known: BTreeSet::new(), report: self.report }
    }

    /// The table under `key`, if there is one.
    pub(super) fn maybe(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.known.insert(key);
        self.table.contains_key(key).then(|| self.section(key))
    }

    /// The array of tables under `key`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let tables: Vec<Table> = self.opt(key).unwrap_or_default();
        let path = self.full(key);
        let at =
            |(index, table)| Section { table, path: format!("{path}[{index}]"), known: BTreeSet::new(), report: self.report };
        tables.into_iter().enumerate().map(at).collect()
    }

    /// The table under `key` whose keys are people's own.
    pub(super) fn map<T: FromValue>(&mut self, key: &'static str) -> BTreeMap<String, T> {
        let mut section = self.section(key);
        let table = std::mem::take(&mut section.table);
        table.into_iter().filter_map(|(name, value)| Some((name.clone(), section.convert(&name, &value)?))).collect()
    }
}

impl Drop for Section<'_> {
    /// What nobody asked for is unknown.
    fn drop(&mut self) {
        for key in self.table.keys() {
            let nearest =
                self.known.iter().map(|known| (strsim::jaro_winkler(key, known), *known)).max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = match nearest {
                Some((likeness, known)) if likeness > 0.75 => format!("did you mean `{}`?", self.full(known)),
                _ => format!("known here: {}", self.known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.report.unknown(&self.full(key), format!("is not a key Warren knows; {hint}"));
        }
    }
}
