//! On which line of a file each key stands.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// Keys as paths, such as `broker.url` or `kind[0].timeout`, and their lines, counted from 1.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// Of a text that was read as TOML already; empty of one that cannot be.
    pub(super) fn of(text: &str) -> Self {
        let mut found = Self::default();
        if let Ok(root) = DeTable::parse(text) {
            table(&starts(text), root.get_ref(), "", &mut found.0);
        }
        found
    }

    /// The line of `key`.
    pub(super) fn get(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }

    /// `key` and what is inside of it, with their lines.
    pub(super) fn under(&self, key: &str) -> impl Iterator<Item = (&str, usize)> {
        let inside = move |path: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let from = self.0.range(key.to_owned()..).take_while(move |(path, _)| path.starts_with(key));
        from.filter(move |(path, _)| inside(path)).map(|(path, line)| (path.as_str(), *line))
    }
}

/// The line of the byte at `offset` of `text`, from 1, and which character of it, from 1.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

/// Where each line begins.
fn starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

fn table(starts: &[usize], table: &DeTable<'_>, path: &str, found: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let name = key.get_ref();
        let full = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        self::value(starts, key.span().start, value.get_ref(), full, found);
    }
}

fn value(starts: &[usize], at: usize, value: &DeValue<'_>, path: String, found: &mut BTreeMap<String, usize>) {
    match value {
        DeValue::Table(inner) => table(starts, inner, &path, found),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                self::value(starts, item.span().start, item.get_ref(), format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
    found.insert(path, starts.partition_point(|start| *start <= at));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_key_has_its_line() {
        let text = "roles = [\n  'api',\n  'worker',\n]\n\n# ä\n[broker]\nurl = 'x'\n\n[[kind]]\nname = 'a'\n\n[[kind]]\nname = 'b'\n\
                    [kind.http]\nurl = 'u'\n[a]\nb.c = { d = 1, \"e.f\" = 2 }\n";
        let lines = Lines::of(text);
        for (key, line) in [
            ("roles", 1),
            ("roles[1]", 3),
            ("broker", 7),
            ("broker.url", 8),
            ("kind", 10),
            ("kind[0]", 10),
            ("kind[0].name", 11),
            ("kind[1]", 13),
            ("kind[1].http", 15),
            ("kind[1].http.url", 16),
            ("a.b.c.d", 18),
            ("a.b.c.e.f", 18),
        ] {
            assert_eq!(lines.get(key), Some(line), "{key}");
        }
        assert_eq!(lines.get("kind[2]"), None);
        assert_eq!(Vec::from_iter(lines.under("kind[1].http")), [("kind[1].http", 15), ("kind[1].http.url", 16)]);
        assert_eq!(lines.under("kind[1").count(), 0);
    }

    #[test]
    fn a_place_is_counted_in_characters() {
        assert_eq!((place("ab", 0), place("ä\nöx", 5), place("a\n", 9)), ((1, 1), (2, 2), (2, 1)));
        assert!(Lines::of("[broken").get("broken").is_none());
    }
}
