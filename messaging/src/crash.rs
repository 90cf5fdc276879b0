//! Crash points: places where a test may ask the process to die as if by `kill -9`.
//!
//! Compiled to nothing unless the feature `crash-points` is on, which only the test crate does.

/// Kills this process with SIGKILL when `WARREN_CRASH_POINT` names this point.
///
/// `WARREN_CRASH_POINT=K5` dies the first time K5 is reached, `K5:40` the fortieth time.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::crash_point_reached($name)
    };
}

/// Not for direct use: see [`crash_point!`].
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub fn crash_point_reached(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);
    // The one place that reads the environment outside configuration: it exists for tests only.
    #[allow(clippy::disallowed_methods)]
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("WARREN_CRASH_POINT").ok()?;
        let (point, nth) = text.split_once(':').unwrap_or((&text, "1"));
        Some((point.to_owned(), nth.parse().unwrap_or(1)))
    });
    if let Some((point, nth)) = plan
        && point == name
        && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Not for direct use: see [`crash_point!`].
#[cfg(not(feature = "crash-points"))]
#[doc(hidden)]
#[inline(always)]
pub fn crash_point_reached(_name: &str) {}
