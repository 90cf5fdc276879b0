//! Which broker a device belongs at, of several: derived from its number and their names alone, so that whoever asks anywhere is told the same.

use sha2::{Digest, Sha256};

use crate::store::Number;

/// Of `shards`, the one where this device belongs; `None` of none.
///
/// Each has a height for each device, and the highest is it (rendezvous hashing): one more shard gets a part of each of the others', one that goes leaves its
/// devices to all others alike, and no device goes from one of the others to another. The same in every version: a change moves all devices.
pub fn place<'a>(device: Number, shards: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    shards.into_iter().max_by_key(|shard| (height(device, shard), *shard))
}

fn height(device: Number, shard: &str) -> u64 {
    let digest = Sha256::new().chain_update(shard).chain_update([0]).chain_update(device.0.to_be_bytes()).finalize();
    let mut first = [0; 8];
    first.iter_mut().zip(digest).for_each(|(to, byte)| *to = byte);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = BTreeSet<String>> {
        prop::collection::btree_set("[a-z0-9-]{1,8}", 1..8)
    }

    fn of(device: i64, shards: &BTreeSet<String>) -> &str {
        place(Number(device), shards.iter().map(String::as_str)).unwrap()
    }

    proptest! {
        #[test]
        fn one_more_takes_devices_and_moves_no_other(shards in names(), new in "[a-z0-9-]{9}", device in 1..i64::MAX) {
            let mut more = shards.clone();
            more.insert(new.clone());
            let (before, after) = (of(device, &shards), of(device, &more));
            prop_assert!(after == before || after == new);
        }

        #[test]
        fn the_order_in_which_they_are_named_says_nothing(shards in names(), device in 1..i64::MAX) {
            let backwards = place(Number(device), shards.iter().rev().map(String::as_str));
            prop_assert_eq!(backwards, Some(of(device, &shards)));
        }
    }

    #[test]
    fn each_has_its_part_and_one_of_four_more_takes_a_fifth() {
        let shards: BTreeSet<String> = ["main", "b", "c", "d"].map(str::to_owned).into();
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        (1..=20_000).for_each(|device| *counts.entry(of(device, &shards)).or_default() += 1);
        // A share of 5,000 has a deviation of 61.
        assert!(counts.len() == 4 && counts.values().all(|count| (4700..=5300).contains(count)), "{counts:?}");
        let mut more = shards.clone();
        more.insert("e".to_owned());
        let moved = (1..=20_000).filter(|device| of(*device, &shards) != of(*device, &more)).count();
        assert!((3750..=4250).contains(&moved), "{moved}");
    }

    #[test]
    fn it_stays_what_it_is() {
        let shards = ["main", "b", "c"];
        let places: Vec<&str> = (1..=12).map(|device| place(Number(device), shards).unwrap()).collect();
        assert_eq!(places, PLACES);
        assert_eq!(place(Number(7), []), None);
    }

    /// As every version has it: else devices would move with each process that is updated. Reckoned apart, with another SHA-256.
    const PLACES: [&str; 12] = ["main", "main", "b", "main", "main", "b", "main", "b", "c", "main", "b", "c"];
}
