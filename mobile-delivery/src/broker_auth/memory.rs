//! Devices that were looked up a moment ago. RabbitMQ asks several times for each that connects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::rules::Known;

/// How long a device is taken for what it was.
pub(super) const TTL: Duration = Duration::from_secs(5);

/// Names that are remembered. With more all are forgotten, and looked up once.
const MOST: usize = 65_536;

/// By name; `None`: there is none that is let in.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<String, Entry>>);

type Entry = (Instant, Option<Arc<Known>>);

impl Memory {
    pub(super) fn get(&self, name: &str) -> Option<Option<Arc<Known>>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, known) = all.get(name)?;
        (since.elapsed() < TTL).then(|| known.clone())
    }

    pub(super) fn put(&self, name: &str, known: Option<Arc<Known>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, (since, _)| since.elapsed() < TTL);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(name.to_owned(), (Instant::now(), known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_an_end() {
        let memory = Memory::default();
        (0..MOST + 10).for_each(|n| memory.put(&format!("acme/{n}"), None));
        assert!(memory.0.lock().unwrap().len() <= MOST);
        assert!(memory.get(&format!("acme/{}", MOST + 9)).is_some() && memory.get("acme/0").is_none());
    }
}
