//! How fast a tenant, and each of its subjects, may submit jobs, or send messages. Off unless configured.
//!
//! A rate of `1000/s` lets a burst of 1000 through at once, and refills evenly (GCRA). It is looked at once it is known who
//! asks, and before the body is read; the items of a batch but its first once they can be counted. Each process counts for
//! itself: with three of them behind a balancer a tenant has up to three times its rate.
//!
//! The answer carries `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), a refusal `Retry-After` too.
//! What is shown is the limit that is nearer to its end.
//!
//! Memory is bounded: what is counted under is a hash, and one that has its whole burst again is forgotten. Should there ever
//! be 100,000 that have not, those that come then share 1024 counts.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::auth::Caller;
use crate::problem::{Code, Problem};

/// How many may be counted under at once.
const KEYS_MAX: usize = 100_000;
/// How many share their counts beyond that.
const SHARED: u64 = 1024;
/// How often what is whole again is forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// So many requests in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how much time.
    pub per: Duration,
    /// How many at once after a pause.
    pub burst: NonZeroU32,
}

/// What is limited; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// What one tenant may submit.
    pub tenant: Option<Rate>,
    /// What one subject of a tenant may submit.
    pub subject: Option<Rate>,
}

/// How a caller stands against the limit that is nearer to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    policy: &'static str,
    quota: u32,
    window: u64,
    remaining: u32,
    /// Seconds until there is one more; on refusals.
    reset: Option<u64>,
}

impl Standing {
    /// Says so in the headers of an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Self { policy, quota, window, remaining, reset } = self;
        let reset = reset.map(|seconds| format!(";t={seconds}")).unwrap_or_default();
        let lines = [
            ("ratelimit-policy", format!("\"{policy}\";q={quota};w={window}")),
            ("ratelimit", format!("\"{policy}\";r={remaining}{reset}")),
        ];
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The counts of this process.
pub struct Rates {
    tenant: Option<Counts>,
    subject: Option<Counts>,
}

impl Rates {
    /// With nothing counted yet.
    pub fn new(limits: RateLimits) -> Self {
        Self {
            tenant: limits.tenant.map(|rate| Counts::new("tenant", rate)),
            subject: limits.subject.map(|rate| Counts::new("subject", rate)),
        }
    }

    /// Counts one job, or message, of this caller; `None` when nothing is limited.
    ///
    /// The subject comes first: what it is refused does not use up its tenant's.
    pub fn take(&self, caller: &Caller) -> Result<Option<Standing>, Problem> {
        let subject = self.subject.as_ref().map(|counts| counts.take(&(&caller.tenant, &caller.subject))).transpose()?;
        let tenant = self.tenant.as_ref().map(|counts| counts.take(&caller.tenant)).transpose()?;
        Ok(subject.into_iter().chain(tenant).min_by_key(|standing| standing.remaining))
    }

    /// Counts `more` jobs of a caller of whom one has just been counted; `None` when nothing more is counted. More than a burst
    /// together would never get through, and are refused for good.
    pub fn take_more(&self, caller: &Caller, more: u32) -> Result<Option<Standing>, Problem> {
        let subject =
            self.subject.as_ref().map(|counts| counts.take_more(&(&caller.tenant, &caller.subject), more)).transpose()?;
        let tenant = self.tenant.as_ref().map(|counts| counts.take_more(&caller.tenant, more)).transpose()?;
        Ok(subject.flatten().into_iter().chain(tenant.flatten()).min_by_key(|standing| standing.remaining))
    }
}

/// Counts under whatever key, of one sort of things.
pub struct Counts<C: Clock = DefaultClock> {
    policy: &'static str,
    rate: Rate,
    /// How long it takes until there is one more.
    one: Duration,
    limiter: RateLimiter<u64, HashMapStateStore<u64>, C, StateInformationMiddleware>,
    clock: C,
    hasher: RandomState,
    swept: Mutex<Instant>,
}

impl Counts {
    /// With nothing counted yet. `policy` names it in headers: `tenant`, `subject`, `device` or `room`.
    pub fn new(policy: &'static str, rate: Rate) -> Self {
        Self::by(policy, rate, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Counts<C> {
    fn by(policy: &'static str, rate: Rate, clock: C) -> Self {
        // A period of nothing is no rate; `Rate` comes checked, and a nanosecond is as good as no limit.
        let one = Duration::max(rate.per / rate.count.get(), Duration::from_nanos(1));
        let quota = Quota::with_period(one).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(rate.burst);
        let limiter = RateLimiter::hashmap_with_clock(quota, clock.clone()).with_middleware();
        Self { policy, rate, one, limiter, clock, hasher: RandomState::new(), swept: Mutex::new(Instant::now()) }
    }

    /// Counts one under this key.
    ///
    /// # Errors
    /// `rate-limited`, with when to come back.
    pub fn take<K: std::hash::Hash>(&self, key: &K) -> Result<Standing, Problem> {
        self.take_many(key, NonZeroU32::MIN, Duration::ZERO)
    }

    fn take_more<K: std::hash::Hash>(&self, key: &K, more: u32) -> Result<Option<Standing>, Problem> {
        let burst = self.rate.burst;
        if more >= burst.get() {
            let who = who(self.policy);
            let detail = format!("this {who} may ask for {burst} at once: send batches of {burst} items at most");
            return Err(Problem::new(Code::BatchTooLarge, detail));
        }
        // Who comes again is counted as one first: that one must be there too.
        NonZeroU32::new(more).map(|more| self.take_many(key, more, self.one)).transpose()
    }

    /// Counts `jobs`, no more than a burst; a refusal says to come back when there are so many, and `later`.
    fn take_many<K: std::hash::Hash>(&self, key: &K, jobs: NonZeroU32, later: Duration) -> Result<Standing, Problem> {
        let key = self.hasher.hash_one(key);
        let key = if self.is_full() { key % SHARED } else { key };
        let standing = |remaining, reset| Standing {
            policy: self.policy,
            quota: self.rate.count.get(),
            window: self.rate.per.as_secs(),
            remaining,
            reset,
        };
        match self.limiter.check_key_n(&key, jobs) {
            Ok(Ok(state)) => Ok(standing(state.remaining_burst_capacity(), None)),
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(self.clock.now()) + later;
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Err(refused(standing(0, Some(seconds.max(1)))))
            }
            // Not more than a burst is ever asked for.
            Err(_) => Err(refused(standing(0, Some(1)))),
        }
    }

    /// Whether no more may be counted under; forgets what is whole again, every now and then.
    fn is_full(&self) -> bool {
        // Whoever finds it locked leaves it to the one who sweeps.
        if let Ok(mut swept) = self.swept.try_lock()
            && swept.elapsed() >= SWEEP
        {
            self.limiter.retain_recent();
            *swept = Instant::now();
        }
        self.limiter.len() >= KEYS_MAX
    }
}

fn who(policy: &str) -> &'static str {
    match policy {
        "tenant" => "tenant",
        "device" => "device",
        "room" => "group",
        _ => "token's subject",
    }
}

fn refused(standing: Standing) -> Problem {
    let Standing { policy, quota, window, reset, .. } = standing;
    let who = who(policy);
    let detail = format!("this {who} may ask for {quota} in {window} s: send the same request again after `Retry-After`");
    let problem = Problem::new(Code::RateLimited, detail).retry_after(reset.unwrap_or(1));
    Problem { standing: Some(standing), ..problem }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(count: u32, seconds: u64, burst: u32) -> Rate {
        let number = |n| NonZeroU32::new(n).unwrap();
        Rate { count: number(count), per: Duration::from_secs(seconds), burst: number(burst) }
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let clock = FakeRelativeClock::default();
        let counts = Counts::by("tenant", rate(10, 1, 3), clock.clone());
        let left: Vec<u32> = (0..3).map(|_| counts.take(&"acme").unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let problem = counts.take(&"acme").unwrap_err();
        assert_eq!((problem.code, problem.retry_after), (Code::RateLimited, Some(1)));
        assert!(counts.take(&"other").is_ok(), "another has its own");
        clock.advance(Duration::from_millis(100));
        assert!(counts.take(&"acme").is_ok());
        assert!(counts.take(&"acme").is_err());
    }

    #[test]
    fn a_slow_rate_says_how_long() {
        let counts = Counts::by("subject", rate(6, 60, 1), FakeRelativeClock::default());
        counts.take(&1).unwrap();
        let problem = counts.take(&1).unwrap_err();
        assert_eq!(problem.retry_after, Some(10));
        let mut headers = HeaderMap::new();
        problem.standing.unwrap().write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"subject\";q=6;w=60");
        assert_eq!(headers["ratelimit"], "\"subject\";r=0;t=10");
    }

    #[test]
    fn many_jobs_count_as_many_and_more_than_a_burst_are_refused() {
        let clock = FakeRelativeClock::default();
        let counts = Counts::by("tenant", rate(1, 1, 10), clock.clone());
        let batch = |key: u32, jobs: u32| {
            counts.take(&key)?;
            Ok::<_, Problem>(counts.take_more(&key, jobs - 1)?.map(|standing| standing.remaining))
        };
        assert_eq!(batch(1, 4).unwrap(), Some(6));
        assert_eq!(batch(2, 10).unwrap(), Some(0));
        // Whoever comes back when it was told to gets through, though the try before has cost one.
        let wait = batch(1, 10).unwrap_err().retry_after.unwrap();
        clock.advance(Duration::from_secs(wait));
        assert_eq!(batch(1, 10).unwrap(), Some(0));
        let problem = batch(3, 11).unwrap_err();
        assert_eq!((problem.code, problem.retry_after), (Code::BatchTooLarge, None), "it would never get through");
        assert!(problem.detail.contains("batches of 10 items"), "{}", problem.detail);
    }

    #[test]
    fn what_a_subject_is_refused_does_not_use_up_its_tenants() {
        let rates = Rates::new(RateLimits { tenant: Some(rate(3, 3600, 3)), subject: Some(rate(1, 3600, 1)) });
        let caller = |subject: &str| Caller::new("acme", subject);
        assert_eq!(rates.take(&caller("ada")).unwrap().map(|s| (s.policy, s.remaining)), Some(("subject", 0)));
        for _ in 0..10 {
            assert!(rates.take(&caller("ada")).is_err());
        }
        assert!(rates.take(&caller("bob")).is_ok() && rates.take(&caller("eve")).is_ok());
        let problem = rates.take(&caller("joe")).unwrap_err();
        assert!(problem.detail.contains("this tenant may ask for 3 in 3600 s"), "{}", problem.detail);
    }

    #[test]
    fn memory_is_bounded_and_what_is_whole_again_is_forgotten() {
        let clock = FakeRelativeClock::default();
        let counts = Counts::by("subject", rate(1, 60, 1), clock.clone());
        for subject in 0..KEYS_MAX + 50_000 {
            let _ = counts.take(&subject);
        }
        assert!(counts.limiter.len() <= KEYS_MAX + SHARED as usize, "{}", counts.limiter.len());
        clock.advance(Duration::from_secs(120));
        *counts.swept.lock().unwrap() = Instant::now().checked_sub(SWEEP).unwrap();
        assert!(counts.take(&"new").is_ok());
        assert_eq!(counts.limiter.len(), 1);
    }

    #[test]
    fn nothing_is_limited_by_default() {
        let rates = Rates::new(RateLimits::default());
        assert!((0..10_000).all(|_| rates.take(&Caller::new("acme", "ada")) == Ok(None)));
    }
}
