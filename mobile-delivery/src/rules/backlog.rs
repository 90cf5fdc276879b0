//! Who makes way: in a full backlog the oldest, of one collapse key the older.

use std::collections::HashSet;
use std::hash::Hash;

use crate::store::Limits;

/// How many of the oldest have to go, so that a device's `messages` of `bytes` fit into `limits` again. `sizes` are those of its
/// messages, oldest first, as far as they were read: it never answers more than there are.
pub fn overflow(messages: i64, bytes: i64, sizes: &[i64], limits: &Limits) -> usize {
    let (mut messages, mut bytes) = (messages, bytes);
    let makes_way = |size: &&i64| {
        let full = messages > limits.device_messages || bytes > limits.device_bytes;
        messages -= 1;
        bytes -= **size;
        full
    };
    sizes.iter().take_while(makes_way).count()
}

/// Of deliveries in the order they came, which are collapsed by a later one: same device, same key.
pub fn collapsed<D: Hash + Eq>(newcomers: &[(D, Option<&str>)]) -> Vec<bool> {
    let mut later = HashSet::new();
    let mut collapsed: Vec<bool> =
        newcomers.iter().rev().map(|(device, key)| key.is_some_and(|key| !later.insert((device, key)))).collect();
    collapsed.reverse();
    collapsed
}

/// How large a backlog is, roughly: 0 for all that are small, and 1 more each time that its messages or its bytes have doubled.
pub fn load(messages: i64, bytes: i64) -> i16 {
    let of = |amount: i64, least: i64| if amount < least { 0 } else { 1 + (amount / least).ilog2() };
    i16::try_from(of(messages, LOADED_MESSAGES).max(of(bytes, LOADED_BYTES))).unwrap_or(i16::MAX)
}

/// With fewer messages than this no backlog of these messages has the load 1.
pub const LOADED_MESSAGES: i64 = 16;

/// The same, of bytes.
pub const LOADED_BYTES: i64 = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_left_fits_and_no_more_goes_than_must(
            sizes in prop::collection::vec(1..100_i64, 1..60),
            device_messages in 1..60_i64,
            device_bytes in 100..2000_i64,
        ) {
            let limits = Limits { device_messages, device_bytes, ..Limits::default() };
            let fits = |gone: usize| {
                let left = &sizes[gone..];
                i64::try_from(left.len()).unwrap() <= device_messages && left.iter().sum::<i64>() <= device_bytes
            };
            let messages = i64::try_from(sizes.len()).unwrap();
            let gone = overflow(messages, sizes.iter().sum(), &sizes, &limits);
            prop_assert!(fits(gone));
            prop_assert!(gone == 0 || !fits(gone - 1));
            // The newest is never among them, since no body is larger than the limit.
            prop_assert!(gone < sizes.len());
        }

        #[test]
        fn of_each_key_the_latest_stays_and_nothing_without_one_goes(
            newcomers in prop::collection::vec((0..4_u8, prop::option::of("[ab]")), 0..40),
        ) {
            let borrowed: Vec<(u8, Option<&str>)> = newcomers.iter().map(|(device, key)| (*device, key.as_deref())).collect();
            let gone = collapsed(&borrowed);
            for (at, newcomer) in newcomers.iter().enumerate() {
                let later = newcomer.1.is_some() && newcomers[at + 1..].contains(newcomer);
                prop_assert_eq!(gone[at], later);
            }
        }

        #[test]
        fn whoever_has_this_much_has_at_least_this_load(messages in 0..i64::MAX, bytes in 0..i64::MAX, least in 0..40_u32) {
            let load = load(messages, bytes);
            if messages >= LOADED_MESSAGES << least || bytes >= LOADED_BYTES << least {
                prop_assert!(i64::from(load) > i64::from(least));
            }
            prop_assert_eq!(load == 0, messages < LOADED_MESSAGES && bytes < LOADED_BYTES);
        }
    }
}
