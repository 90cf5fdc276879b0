//! How much may wait to be published: per tenant, and in all.
//!
//! What waits for its time, a scheduled job or a retry, does not count until it is due: a million jobs for tomorrow keep no job
//! of today out. While a limit is reached, jobs for later are refused as well.
//! The counts come from the store and this process's memory every second or so; in between, this process adds what it accepts
//! itself. So a limit may be overshot by what all processes accept between two looks, and by what the others hold in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::AcceptError;
use crate::store;

/// Limits on what waits to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogLimits {
    /// In all; 1,000,000 by default.
    pub total: u64,
    /// Per tenant; 250,000 by default.
    pub per_tenant: u64,
}

impl Default for BacklogLimits {
    fn default() -> Self {
        Self { total: 1_000_000, per_tenant: 250_000 }
    }
}

/// When whoever is refused may come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What waits, as far as this process knows.
#[derive(Debug)]
pub struct Backlog {
    limits: BacklogLimits,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    total: u64,
    by_tenant: HashMap<String, u64>,
}

impl Backlog {
    /// An empty backlog.
    pub fn new(limits: BacklogLimits) -> Self {
        Self { limits, waiting: Mutex::default() }
    }

    /// Counts one more for `tenant`, unless a limit is reached, or it is `for_later`.
    ///
    /// # Errors
    /// [`AcceptError::Backlog`] or [`AcceptError::TenantBacklog`], with a time to come back.
    pub fn admit(&self, tenant: &str, for_later: bool) -> Result<(), AcceptError> {
        let mut waiting = self.lock();
        let of_tenant = waiting.by_tenant.get(tenant).copied().unwrap_or(0);
        if waiting.total >= self.limits.total {
            return Err(AcceptError::Backlog { retry_after: RETRY_AFTER });
        }
        if of_tenant >= self.limits.per_tenant {
            return Err(AcceptError::TenantBacklog { retry_after: RETRY_AFTER });
        }
        if for_later {
            return Ok(());
        }
        waiting.total += 1;
        match waiting.by_tenant.get_mut(tenant) {
            Some(count) => *count += 1,
            None => {
                waiting.by_tenant.insert(tenant.to_owned(), 1);
            }
        }
        Ok(())
    }

    /// Takes one back that was counted and does not wait: it was not stored, or was stored before.
    pub fn release(&self, tenant: &str) {
        let mut waiting = self.lock();
        waiting.total = waiting.total.saturating_sub(1);
        if let Some(count) = waiting.by_tenant.get_mut(tenant) {
            *count = count.saturating_sub(1);
        }
    }

    /// Takes over what was counted.
    pub fn refresh(&self, counts: Vec<store::Waiting>) {
        let mut waiting = self.lock();
        waiting.total = counts.iter().map(|count| count.rows).sum();
        waiting.by_tenant.clear();
        for count in counts {
            *waiting.by_tenant.entry(count.lane.tenant).or_default() += count.rows;
        }
    }

    /// How many wait in all.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tenant_does_not_shut_out_another() {
        let backlog = Backlog::new(BacklogLimits { total: 3, per_tenant: 2 });
        assert!(backlog.admit("a", false).is_ok() && backlog.admit("a", false).is_ok());
        assert!(matches!(backlog.admit("a", false), Err(AcceptError::TenantBacklog { .. })));
        assert!(backlog.admit("b", false).is_ok());
        assert!(matches!(backlog.admit("c", false), Err(AcceptError::Backlog { .. })), "the total is reached");
        assert!(matches!(backlog.admit("a", false), Err(AcceptError::Backlog { .. })), "and stands before the tenant's own");
        backlog.release("b");
        assert!(backlog.admit("c", false).is_ok(), "one was not stored after all");
        let lane = store::Lane { kind: "k".to_owned(), tenant: "a".to_owned(), priority: store::Priority::Normal };
        let count = |rows| store::Waiting { lane: lane.clone(), rows, oldest: 0 };
        backlog.refresh(vec![count(1), count(1)]);
        assert!(backlog.admit("a", false).is_err(), "in the store and in memory");
        assert!(backlog.admit("a", true).is_err(), "also for later");
        backlog.refresh(vec![count(0)]);
        assert!(backlog.admit("a", false).is_ok());
        for _ in 0..9 {
            assert!(backlog.admit("a", true).is_ok(), "what is for later does not count");
        }
        assert!(backlog.admit("a", false).is_ok());
    }
}
