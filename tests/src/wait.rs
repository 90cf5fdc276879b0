//! Awaiting a condition with a deadline: the only way tests synchronise.
//!
//! A fixed sleep is either too short on a busy machine or wasted on a quick one. Here the condition
//! is looked at every 20 ms, and a test that waits in vain says for what.

use std::future::Future;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(20);

/// Calls `probe` until it gives `Some`; fails the test when `deadline` passes first.
///
/// `probe` is an `async ||` closure; what it changes, it holds in a `Cell` or a `Mutex` (so that the
/// wait can be moved between threads). A probe that hangs counts against the deadline too. `what` completes the sentence "waited 10s
/// for ..., in vain".
///
/// # Panics
/// When the deadline passes.
pub async fn until<T, F, P>(deadline: Duration, what: &str, probe: F) -> T
where
    F: FnMut() -> P,
    P: Future<Output = Option<T>>,
{
    match within(deadline, probe).await {
        Some(value) => value,
        None => panic!("waited {deadline:?} for {what}, in vain"),
    }
}

/// Like [`until`] for a plain yes or no.
///
/// # Panics
/// When the deadline passes.
pub async fn until_true<F, P>(deadline: Duration, what: &str, mut probe: F)
where
    F: FnMut() -> P,
    P: Future<Output = bool>,
{
    let some = || {
        let probe = probe();
        async { probe.await.then_some(()) }
    };
    until(deadline, what, some).await;
}

/// Like [`until`], but `None` when the deadline passes: for a caller that has more to say then.
pub async fn within<T, F, P>(deadline: Duration, mut probe: F) -> Option<T>
where
    F: FnMut() -> P,
    P: Future<Output = Option<T>>,
{
    let tries = async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(deadline, tries).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_value_of_the_first_success_is_returned() {
        let calls = std::cell::Cell::new(0);
        let value = until(Duration::from_secs(5), "the third call", async || {
            calls.set(calls.get() + 1);
            (calls.get() == 3).then_some(calls.get())
        })
        .await;
        assert_eq!(value, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "for a pig that flies, in vain")]
    async fn the_failure_names_what_was_waited_for() {
        until_true(Duration::from_millis(60), "a pig that flies", async || false).await;
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_held_to_the_deadline() {
        let never = within(Duration::from_millis(60), async || std::future::pending::<Option<()>>().await);
        assert_eq!(never.await, None);
    }
}
