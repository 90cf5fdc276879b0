//! What was accepted against what was done: the oracle of every fault test.
//!
//! The load generator writes a line before each request and another after the answer. At the end
//! the test says what it observed, and the [`Verdict`] tells what went wrong, in the words of
//! RabbitMQ's own Jepsen suite. `lost`, `unexpected`, `duplicate`, `split` and `stuck` must be empty
//! in any run; `recovered` is no fault: a broken connection means "unknown", and the job may exist.
//!
//! A request is known by its idempotency key, which the payload must carry too, so that an effect
//! can be counted even when the answer with the job's id was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;

/// What a run was told and what it found.
#[derive(Debug, Default)]
pub struct Ledger {
    lines: Mutex<BTreeMap<String, Line>>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    statuses: Vec<u16>,
    jobs: BTreeSet<String>,
}

impl Line {
    fn accepted(&self) -> bool {
        self.statuses.iter().any(|status| (200..300).contains(status))
    }

    /// Every answer was a refusal: no effect may follow. A 5xx or no answer at all leaves it open.
    fn refused(&self) -> bool {
        !self.statuses.is_empty() && self.statuses.iter().all(|status| (400..500).contains(status))
    }
}

/// What the test saw after the fault was healed and the backlog drained.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The key of each effect, once per time it happened.
    pub effects: Vec<String>,
    /// The state of each job in the store, by its id.
    pub states: BTreeMap<String, String>,
}

/// The outcome of a run; every list holds keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Distinct keys sent.
    pub sent: usize,
    /// Keys that got a 2xx.
    pub accepted: usize,
    /// Accepted keys with an effect.
    pub done: usize,
    /// Accepted keys that ended without an effect, as they may: dead, cancelled, expired.
    pub ended: usize,
    /// Keys without a 2xx whose effect happened all the same.
    pub recovered: usize,
    /// Accepted, and neither done nor ended nor on the way.
    pub lost: Vec<String>,
    /// An effect that nobody asked for, or that was refused with a 4xx.
    pub unexpected: Vec<String>,
    /// More than one effect.
    pub duplicate: Vec<String>,
    /// More than one job for one key.
    pub split: Vec<String>,
    /// Accepted and not ended yet.
    pub stuck: Vec<String>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a request, before it is sent. The same key again is a retry.
    pub fn sent(&self, key: &str) {
        self.lines.lock().unwrap().entry(key.to_owned()).or_default();
    }

    /// Notes an answer, with the job's id if it held one.
    ///
    /// # Panics
    /// When the key was never noted as sent.
    pub fn answered(&self, key: &str, status: u16, job: Option<&str>) {
        let mut lines = self.lines.lock().unwrap();
        let line = lines.get_mut(key).expect("a key is noted as sent before it is answered");
        line.statuses.push(status);
        line.jobs.extend(job.map(str::to_owned));
    }

    /// Keys without a 2xx so far: what the load generator has to send again.
    pub fn unanswered(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let open = lines.iter().filter(|(_, line)| !line.accepted());
        open.map(|(key, _)| key.clone()).collect()
    }

    /// The ids of all jobs that were accepted.
    pub fn jobs(&self) -> BTreeSet<String> {
        let lines = self.lines.lock().unwrap();
        lines.values().flat_map(|line| line.jobs.iter().cloned()).collect()
    }

    /// Compares what was accepted with what the closure observed.
    pub async fn verdict(&self, observe: impl AsyncFnOnce() -> Observed) -> Verdict {
        let observed = observe().await;
        let lines = self.lines.lock().unwrap().clone();
        let mut effects: BTreeMap<&str, usize> = BTreeMap::new();
        for key in &observed.effects {
            *effects.entry(key).or_default() += 1;
        }
        let mut verdict = Verdict { sent: lines.len(), ..Verdict::default() };
        for (key, line) in &lines {
            let times = effects.remove(key.as_str()).unwrap_or_default();
            verdict.judge(key, line, times, &observed.states);
        }
        // What is left was never sent by us.
        verdict.unexpected.extend(effects.into_keys().map(str::to_owned));
        verdict
    }
}

impl Verdict {
    fn judge(&mut self, key: &str, line: &Line, times: usize, states: &BTreeMap<String, String>) {
        if times > 1 {
            self.duplicate.push(key.to_owned());
        }
        if line.jobs.len() > 1 {
            self.split.push(key.to_owned());
        }
        if !line.accepted() {
            match (times > 0, line.refused()) {
                (true, true) => self.unexpected.push(key.to_owned()),
                (true, false) => self.recovered += 1,
                (false, _) => {}
            }
            return;
        }
        self.accepted += 1;
        let mut found = line.jobs.iter().filter_map(|job| states.get(job));
        match found.next().map(String::as_str) {
            _ if times > 0 => self.done += 1,
            Some("dead" | "cancelled" | "expired") => self.ended += 1,
            Some("scheduled" | "accepted" | "queued" | "running" | "retrying") => {
                self.stuck.push(key.to_owned());
            }
            // "succeeded" without an effect is a loss that hides.
            _ => self.lost.push(key.to_owned()),
        }
    }

    /// Whether nothing went wrong.
    pub fn is_clean(&self) -> bool {
        self.faults().iter().all(|(_, keys)| keys.is_empty())
    }

    /// Fails the test unless the run was clean.
    ///
    /// # Panics
    /// When anything was lost, unexpected, duplicated, split or stuck.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "the run broke a promise\n{self}");
    }

    fn faults(&self) -> [(&'static str, &Vec<String>); 5] {
        [
            ("lost", &self.lost),
            ("unexpected", &self.unexpected),
            ("duplicate effects", &self.duplicate),
            ("split", &self.split),
            ("stuck", &self.stuck),
        ]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sent {}, accepted {}, done {}, ended without effect {}, recovered {}",
            self.sent, self.accepted, self.done, self.ended, self.recovered
        )?;
        for (name, keys) in self.faults() {
            write!(f, "{name} {}", keys.len())?;
            for key in keys.iter().take(10) {
                write!(f, " {key}")?;
            }
            writeln!(f, "{}", if keys.len() > 10 { " ..." } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn verdict(ledger: &Ledger, effects: &[&str], states: &[(&str, &str)]) -> Verdict {
        let observed = Observed {
            effects: effects.iter().map(ToString::to_string).collect(),
            states: states.iter().map(|(job, state)| (job.to_string(), state.to_string())).collect(),
        };
        ledger.verdict(async || observed).await
    }

    fn accepted(keys: &[&str]) -> Ledger {
        let ledger = Ledger::new();
        for key in keys {
            ledger.sent(key);
            ledger.answered(key, 202, Some(&format!("job-{key}")));
        }
        ledger
    }

    #[tokio::test]
    async fn each_effect_once_is_clean() {
        let ledger = accepted(&["a", "b"]);
        let verdict = verdict(&ledger, &["a"], &[("job-b", "dead")]).await;
        verdict.assert_clean();
        assert_eq!((verdict.done, verdict.ended), (1, 1));
    }

    #[tokio::test]
    async fn each_fault_is_told_apart() {
        let ledger = accepted(&["lost", "hidden", "stuck", "twice"]);
        ledger.answered("twice", 202, Some("job-other"));
        let states = [("job-hidden", "succeeded"), ("job-stuck", "running")];
        let verdict = verdict(&ledger, &["twice", "twice", "stranger"], &states).await;
        assert_eq!(verdict.lost, ["hidden", "lost"]);
        assert_eq!(verdict.stuck, ["stuck"]);
        assert_eq!(verdict.duplicate, ["twice"]);
        assert_eq!(verdict.split, ["twice"]);
        assert_eq!(verdict.unexpected, ["stranger"]);
        assert!(!verdict.is_clean());
        assert!(verdict.to_string().contains("lost 2 hidden lost"));
    }

    #[tokio::test]
    async fn no_answer_is_unknown_and_a_refusal_is_not() {
        let ledger = Ledger::new();
        for key in ["silent", "busy", "refused"] {
            ledger.sent(key);
        }
        ledger.answered("busy", 503, None);
        ledger.answered("refused", 422, None);
        assert_eq!(ledger.unanswered().len(), 3);
        let verdict = verdict(&ledger, &["silent", "busy", "refused"], &[]).await;
        assert_eq!(verdict.recovered, 2);
        assert_eq!(verdict.unexpected, ["refused"]);
    }
}
