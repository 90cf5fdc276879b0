//! A constant rate of messages, and how long each takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::PATIENCE;
use crate::device::{Fleet, Member};
use crate::owner::Owner;

/// Sent first, and not counted.
const WARM_UP: usize = 2;

/// After the last request, for what is still on its way.
const LAST: Duration = Duration::from_secs(20);

/// When each message was due, and how many nanoseconds later something was.
struct Watch {
    begun: Instant,
    every: Duration,
    after: Vec<AtomicU64>,
    count: AtomicUsize,
}

impl Watch {
    fn new(begun: Instant, rate: usize, count: usize) -> Self {
        let after = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { begun, every: Duration::from_secs(1) / u32::try_from(rate).expect("a rate"), after, count: AtomicUsize::new(0) }
    }

    fn due(&self, n: usize) -> Instant {
        self.begun + self.every * u32::try_from(n).expect("a number of messages")
    }

    /// The first time counts.
    fn note(&self, n: usize) {
        let Some(after) = self.after.get(n) else { return };
        let took = u64::try_from(self.due(n).elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        if after.compare_exchange(0, took, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// p50, p99 and the longest, in milliseconds, of those from `first` on.
    fn told(&self, first: usize) -> [f64; 3] {
        let mut all: Vec<u64> = self.after[first..].iter().map(|after| after.load(Ordering::Relaxed)).collect();
        all.sort_unstable();
        let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize] as f64 / 1e6;
        [at(0.5), at(0.99), at(1.0)]
    }
}

pub async fn measure(owner: Owner, members: Vec<Arc<Member>>, rate: usize, seconds: usize) {
    let count = rate * (seconds + WARM_UP);
    // The time begins once all are there; until then nothing is sent.
    let watch = Arc::new(std::sync::OnceLock::<(Watch, Watch)>::new());
    let got = {
        let watch = watch.clone();
        move |n| watch.get().into_iter().for_each(|(got, _): &(Watch, Watch)| got.note(n))
    };
    let mut fleet = Fleet::start(&owner.address(), members.clone(), got);
    let (idle_seconds, _) = fleet.idle(PATIENCE).await;
    println!("{{\"idle_seconds\": {idle_seconds}}}");
    assert_eq!(crate::lines().recv().await.as_deref(), Some("send"), "what is to be done is not known");
    let begun = Instant::now() + Duration::from_millis(100);
    let _ = watch.set((Watch::new(begun, rate, count), Watch::new(begun, rate, count)));

    // A thread of its own keeps time better than a timer of the runtime, which is of whole milliseconds.
    let (tick, mut ticks) = mpsc::unbounded_channel();
    let clock = watch.clone();
    std::thread::spawn(move || {
        let (got, _) = clock.get().expect("it has begun");
        for n in 0..count {
            std::thread::sleep(got.due(n).saturating_duration_since(Instant::now()));
            let _ = tick.send(n);
        }
    });
    let pad = "x".repeat(1000);
    let refused = Arc::new(AtomicUsize::new(0));
    let mut sends = tokio::task::JoinSet::new();
    while let Some(n) = ticks.recv().await {
        let (owner, member, watch, refused) = (owner.clone(), members[n % members.len()].clone(), watch.clone(), refused.clone());
        let body = Bytes::from(format!(r#"{{"n":{n},"pad":"{pad}"}}"#));
        sends.spawn(async move {
            match owner.send(&member.id, body).await {
                Ok(()) => watch.get().into_iter().for_each(|(_, taken)| taken.note(n)),
                Err(why) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    eprintln!("message {n} was not taken: {why}");
                }
            }
        });
        while sends.try_join_next().is_some() {}
    }
    while sends.join_next().await.is_some() {}
    let (got, taken) = watch.get().expect("it has begun");
    let until = Instant::now() + LAST;
    while got.count.load(Ordering::Relaxed) < count && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let missing = count - got.count.load(Ordering::Relaxed);
    assert_eq!((missing, refused.load(Ordering::Relaxed)), (0, 0), "messages that never came, and that were refused");
    let ([p50, p99, max], [taken_p50, taken_p99, _]) = (got.told(rate * WARM_UP), taken.told(rate * WARM_UP));
    println!(
        r#"{{"p50_ms": {p50}, "p99_ms": {p99}, "max_ms": {max}, "taken_p50_ms": {taken_p50}, "taken_p99_ms": {taken_p99}}}"#
    );
}
