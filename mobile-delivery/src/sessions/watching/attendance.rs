//! Who is in a room, from one look to the next: what is worth telling. Without I/O.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::protocol::Author;
use crate::store::Number;

/// How long a device may be away without anybody being told: it has changed networks.
const AWAY: Duration = Duration::from_secs(5);

/// Who was there when it was looked last, or a moment before.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    there: BTreeMap<Number, Author>,
    missing: BTreeMap<Number, Instant>,
}

impl Attendance {
    /// Takes what a look has found; answers who has come and who has gone since.
    pub(super) fn saw(&mut self, found: BTreeMap<Number, Author>, now: Instant) -> (Vec<Author>, Vec<Author>) {
        let Self { there, missing } = self;
        missing.retain(|number, _| there.contains_key(number) && !found.contains_key(number));
        for number in there.keys().filter(|number| !found.contains_key(number)) {
            missing.entry(*number).or_insert(now);
        }
        let is_over = |since: &mut Instant| now.saturating_duration_since(*since) >= AWAY;
        let gone: Vec<Number> = missing.extract_if(.., |_, since| is_over(since)).map(|(number, _)| number).collect();
        let away = gone.into_iter().filter_map(|number| there.remove(&number)).collect();
        let mut here = Vec::new();
        for (number, author) in found {
            // One that was registered for another user is another.
            if there.insert(number, author.clone()).is_none_or(|before| before != author) {
                here.push(author);
            }
        }
        (here, away)
    }

    /// Everybody.
    pub(super) fn all(&self) -> Vec<Author> {
        self.there.values().cloned().collect()
    }

    /// Whether somebody has been away for long enough to be told of.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.missing.values().any(|since| now.saturating_duration_since(*since) >= AWAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(name: &str) -> Author {
        Author { device: name.to_owned(), user: name.to_owned() }
    }

    fn found(names: &[(i64, &str)]) -> BTreeMap<Number, Author> {
        names.iter().map(|(number, name)| (Number(*number), author(name))).collect()
    }

    #[test]
    fn who_comes_is_told_at_once_and_who_goes_after_a_while() {
        let (mut room, begun) = (Attendance::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(room.saw(found(&[(1, "ada"), (2, "bob")]), begun), (vec![author("ada"), author("bob")], vec![]));
        assert_eq!(room.saw(found(&[(1, "ada")]), at(1)), (vec![], vec![]));
        assert_eq!(room.all(), [author("ada"), author("bob")], "for a moment");
        assert!(!room.is_due(at(5)) && room.is_due(at(6)));
        assert_eq!(room.saw(found(&[(1, "ada")]), at(6)), (vec![], vec![author("bob")]));
        assert_eq!(room.all(), [author("ada")]);
        assert!(!room.is_due(at(60)));
        assert_eq!(room.saw(found(&[(1, "ada"), (2, "bob")]), at(61)), (vec![author("bob")], vec![]));
    }

    #[test]
    fn who_is_back_soon_was_never_away() {
        let (mut room, begun) = (Attendance::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        room.saw(found(&[(1, "ada")]), begun);
        assert_eq!(room.saw(found(&[]), at(1)), (vec![], vec![]));
        assert_eq!(room.saw(found(&[(1, "ada")]), at(3)), (vec![], vec![]));
        assert_eq!(room.saw(found(&[]), at(4)), (vec![], vec![]));
        assert_eq!(room.saw(found(&[]), at(8)), (vec![], vec![]), "it counts from when it went last");
        assert_eq!(room.saw(found(&[]), at(9)), (vec![], vec![author("ada")]));
    }
}
