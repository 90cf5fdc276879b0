//! Tokens that were verified, by their SHA-256: the token itself is not kept.
//!
//! Two generations: when the young one is full it becomes the old one, and the old one is dropped. So the size is bounded, what
//! is used stays, and nothing is ever searched for what to throw out.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, PoisonError, RwLock};

use super::Caller;

type Entries = HashMap<[u8; 32], (Arc<Caller>, i64)>;

#[derive(Debug)]
pub(super) struct Cache {
    half: usize,
    generations: RwLock<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: Entries,
    old: Entries,
}

impl Cache {
    pub(super) fn new(size: usize) -> Self {
        Self { half: (size / 2).max(1), generations: RwLock::default() }
    }

    /// The caller and the `exp` of a token with this digest.
    pub(super) fn get(&self, digest: &[u8; 32]) -> Option<(Arc<Caller>, i64)> {
        let (caller, exp) = {
            let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = generations.young.get(digest) {
                return Some(found.clone());
            }
            generations.old.get(digest)?.clone()
        };
        self.put(*digest, Arc::clone(&caller), exp);
        Some((caller, exp))
    }

    pub(super) fn put(&self, digest: [u8; 32], caller: Arc<Caller>, exp: i64) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= self.half && !generations.young.contains_key(&digest) {
            generations.old = mem::take(&mut generations.young);
        }
        generations.young.insert(digest, (caller, exp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u32) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        digest
    }

    #[test]
    fn it_stays_small_and_keeps_what_is_used() {
        let cache = Cache::new(100);
        let caller = Arc::new(Caller { tenant: "t".to_owned(), subject: "s".to_owned(), issued_at: None, scopes: Vec::new() });
        cache.put(digest(0), Arc::clone(&caller), 7);
        for n in 1..10_000 {
            cache.put(digest(n), Arc::clone(&caller), 8);
            assert_eq!(cache.get(&digest(0)).map(|(_, exp)| exp), Some(7));
        }
        let generations = cache.generations.read().unwrap();
        assert!(generations.young.len() <= 50 && generations.old.len() <= 50);
        drop(generations);
        assert!(cache.get(&digest(1)).is_none());
    }
}
