//! Whose turn it is when jobs of both classes wait: the high one's, but every fifth turn is a normal one's.
//!
//! A prefetch is shared out over the two queues so that no delivery waits longer than it would in one queue: a normal one waits
//! for five turns for each normal one before it, a high one for five turns for each four high ones. What is no less than the
//! concurrency is given to both, so that either can use every slot while the other is empty.

use broker_topology::Priority;

/// One turn in so many is a normal one's while normal ones wait.
pub const ONE_IN: u8 = 5;

/// Whose turn it is. Remembers the high turns since the last normal one.
#[derive(Debug, Default)]
pub(super) struct Turns(u8);

impl Turns {
    /// Who goes next of those that wait, if any does.
    pub(super) fn next(&mut self, high_waits: bool, normal_waits: bool) -> Option<Priority> {
        let next = match (high_waits, normal_waits) {
            (false, false) => return None,
            (true, false) => Priority::High,
            (true, true) if self.0 < ONE_IN - 1 => Priority::High,
            (_, true) => Priority::Normal,
        };
        self.0 = match next {
            Priority::High => (self.0 + 1).min(ONE_IN - 1),
            Priority::Normal => 0,
        };
        Some(next)
    }
}

/// How many deliveries of each queue are held without an ack, of `prefetch` in all: (normal, high). A fifth and four fifths, but
/// each no less than `concurrency`, as far as `prefetch` goes.
pub fn shares(prefetch: u16, concurrency: usize) -> (u16, u16) {
    let least = u16::try_from(concurrency).unwrap_or(u16::MAX).min(prefetch);
    let normal = prefetch / u16::from(ONE_IN);
    (normal.max(least), (normal * u16::from(ONE_IN - 1)).max(least))
}

/// How many rounds of `concurrency` handlers a delivery may wait for and run in, its own included; with `classes` in the worst
/// case of a flood of the other class. Times the time limit of an attempt, it is how long a delivery may be without an ack.
pub fn rounds(prefetch: u16, concurrency: usize, classes: bool) -> u32 {
    let starts = if classes {
        let (normal, high) = shares(prefetch, concurrency);
        let (one_in, rest) = (usize::from(ONE_IN), usize::from(ONE_IN - 1));
        (usize::from(normal) * one_in).max((usize::from(high) * one_in).div_ceil(rest))
    } else {
        usize::from(prefetch)
    };
    u32::try_from(starts.div_ceil(concurrency.max(1))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(waits: impl IntoIterator<Item = (bool, bool)>) -> String {
        let mut turns = Turns::default();
        let letter = |next| match next {
            Some(Priority::High) => 'h',
            Some(Priority::Normal) => 'n',
            None => '-',
        };
        waits.into_iter().map(|(high, normal)| letter(turns.next(high, normal))).collect()
    }

    #[test]
    fn high_goes_first_and_every_fifth_turn_is_a_normal_ones() {
        assert_eq!(order([(true, true); 12]), "hhhhnhhhhnhh");
        assert_eq!(order([(false, true); 3]), "nnn");
        assert_eq!(order([(false, false), (true, true), (false, false), (false, true)]), "-h-n");
        let alone = std::iter::repeat_n((true, false), 300);
        assert_eq!(
            order(alone.chain([(true, true); 6])),
            format!("{}nhhhhn", "h".repeat(300)),
            "what waited long is not owed more"
        );
    }

    #[test]
    fn no_delivery_waits_longer_than_in_one_queue_where_the_prefetch_allows_it() {
        for (prefetch, concurrency, split, together, apart) in [
            (256, 32, (51, 204), 8, 8),
            (64, 8, (12, 48), 8, 8),
            (64, 16, (16, 48), 4, 5),
            (32, 32, (32, 32), 1, 5),
            (1, 1, (1, 1), 1, 5),
            (2, 10_000, (2, 2), 1, 1),
            (u16::MAX, 1, (13_107, 52_428), 65_535, 65_535),
        ] {
            assert_eq!(shares(prefetch, concurrency), split, "{prefetch} {concurrency}");
            assert_eq!(rounds(prefetch, concurrency, false), together, "{prefetch} {concurrency}");
            assert_eq!(rounds(prefetch, concurrency, true), apart, "{prefetch} {concurrency}");
        }
        assert_eq!(rounds(9, 0, true), 5, "what makes no sense is no panic");
    }
}
