//! A constant rate of messages, and how long each takes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::PATIENCE;
use crate::device::{Fleet, Member, News};
use crate::owner::{GROUP, Owner};

/// Sent first, and not counted.
const WARM_UP: usize = 2;

/// After the last request, for what is still on its way.
const LAST: Duration = Duration::from_secs(20);

/// To whom messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Each to the next device.
    Each,
    /// Each to the room that all of them are in, by one of them over its socket.
    Room,
}

/// When each message was due, and how many nanoseconds later something was, as often as it is to be.
struct Watch {
    begun: Instant,
    every: Duration,
    copies: usize,
    after: Vec<AtomicU64>,
    noted: Vec<AtomicUsize>,
    count: AtomicUsize,
}

impl Watch {
    fn new(begun: Instant, rate: usize, count: usize, copies: usize) -> Self {
        let after = (0..count * copies).map(|_| AtomicU64::new(0)).collect();
        let noted = (0..count).map(|_| AtomicUsize::new(0)).collect();
        let every = Duration::from_secs(1) / u32::try_from(rate).expect("a rate");
        Self { begun, every, copies, after, noted, count: AtomicUsize::new(0) }
    }

    fn due(&self, n: usize) -> Instant {
        self.begun + self.every * u32::try_from(n).expect("a number of messages")
    }

    /// The first times count.
    fn note(&self, n: usize) {
        let Some(noted) = self.noted.get(n) else { return };
        let copy = noted.fetch_add(1, Ordering::Relaxed);
        if copy < self.copies {
            let took = u64::try_from(self.due(n).elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
            self.after[n * self.copies + copy].store(took, Ordering::Relaxed);
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// p50, p99 and the longest, in milliseconds, of those from `first` on.
    fn told(&self, first: usize) -> [f64; 3] {
        let mut all: Vec<u64> = self.after[first * self.copies..].iter().map(|after| after.load(Ordering::Relaxed)).collect();
        all.sort_unstable();
        let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize] as f64 / 1e6;
        [at(0.5), at(0.99), at(1.0)]
    }
}

pub async fn measure(owner: Owner, members: Vec<Arc<Member>>, to: To, rate: usize, seconds: usize) {
    let copies = if to == To::Room { members.len() } else { 1 };
    let count = rate * (seconds + WARM_UP);
    // The time begins once all are there; until then nothing is sent.
    let watch = Arc::new(OnceLock::<(Watch, Watch)>::new());
    let got = {
        let watch = watch.clone();
        move |news| {
            let Some((got, taken)) = watch.get() else { return };
            match news {
                News::Got(n) => got.note(n),
                News::Published(n) => taken.note(n),
            }
        }
    };
    let mut fleet = Fleet::start(&owner.address(), members.clone(), got);
    let (idle_seconds, _) = fleet.idle(PATIENCE).await;
    println!("{{\"idle_seconds\": {idle_seconds}}}");
    assert_eq!(crate::lines().recv().await.as_deref(), Some("send"), "what is to be done is not known");
    let begun = Instant::now() + Duration::from_millis(100);
    let _ = watch.set((Watch::new(begun, rate, count, copies), Watch::new(begun, rate, count, 1)));

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
        let body = format!(r#"{{"n":{n},"pad":"{pad}"}}"#);
        if to == To::Room {
            let frame = format!(r#"{{"frame":"publish","ref":"{n}","group":"{GROUP}","data":{body}}}"#);
            fleet.say(n % members.len(), frame);
            continue;
        }
        let (owner, member, watch, refused) = (owner.clone(), members[n % members.len()].clone(), watch.clone(), refused.clone());
        sends.spawn(async move {
            match owner.send(&member.id, body.into()).await {
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
    while got.count.load(Ordering::Relaxed) < count * copies && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let missing = count * copies - got.count.load(Ordering::Relaxed);
    assert_eq!((missing, refused.load(Ordering::Relaxed)), (0, 0), "messages that never came, and that were refused");
    let ([p50, p99, max], [taken_p50, taken_p99, _]) = (got.told(rate * WARM_UP), taken.told(rate * WARM_UP));
    println!(
        r#"{{"p50_ms": {p50}, "p99_ms": {p99}, "max_ms": {max}, "taken_p50_ms": {taken_p50}, "taken_p99_ms": {taken_p99}}}"#
    );
}

/// One broadcast to all that are connected: for each line `send` on the input, how long until the last frame, and until all acks are stored.
pub async fn broadcast(owner: Owner, members: Vec<Arc<Member>>) {
    let (came, all) = (Arc::new(AtomicUsize::new(0)), members.len());
    let got = {
        let came = came.clone();
        move |_: News| {
            came.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut fleet = Fleet::start(&owner.address(), members, got);
    let (idle_seconds, _) = fleet.idle(PATIENCE).await;
    println!("{{\"idle_seconds\": {idle_seconds}}}");
    let (mut lines, mut before) = (crate::lines(), 0);
    while let Some(line) = lines.recv().await {
        assert_eq!(line, "send", "what is to be done is not known");
        let begun = Instant::now();
        let message = owner.broadcast(Bytes::from(format!(r#"{{"n":0,"pad":"{}"}}"#, "x".repeat(1000)))).await;
        let taken = begun.elapsed().as_secs_f64();
        while came.load(Ordering::Relaxed) - before < all {
            assert!(begun.elapsed() < LAST, "{} of {all} frames came", came.load(Ordering::Relaxed) - before);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let last_frame = begun.elapsed().as_secs_f64();
        while owner.delivered(&message).await < all {
            assert!(begun.elapsed() < LAST, "not all acks are stored");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let acked = begun.elapsed().as_secs_f64();
        before = came.load(Ordering::Relaxed);
        println!(r#"{{"taken_seconds": {taken}, "got_seconds": {last_frame}, "acked_seconds": {acked}}}"#);
    }
}
