//! How far running jobs are, as their handlers say: in this process by `Context::progress`, elsewhere by reports on `warren.results`.
//!
//! ```text
//! handler of this process --once a second, all together--+
//! report on warren.results ------------------------------+--> is the job at that run? --> job_progress --> who follows the job
//! ```
//!
//! Guarantees: of one attempt a later word is never replaced by an earlier one, and no word changes a job. Limits: words are
//! coalesced, lost with their process, and one of a run that the job is not at is ignored and counted. The last word stays until the
//! next attempt says something, also while the job waits for that attempt.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use messaging::consumer::Running;
pub(crate) use messaging::consumer::Word;
use messaging::said::PACE;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::results::Trust;
use crate::rules;
use crate::store::{Job, JobStore, Progress, StoreError};
use crate::watch::Watch;
use database::clock;

/// Words looked at in one statement.
const TOGETHER: usize = 512;

/// Who a word of progress comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaker<'a> {
    /// A handler of this process, under the lease that the row has.
    Here,
    /// A service, whose leases the hub does not know, if it may speak for the run.
    Elsewhere(&'a Trust),
    /// Whoever holds the token of the run, which may be under way here.
    Holder,
}

/// Hears words of progress. Cheap to clone.
#[derive(Clone)]
pub struct Hearing {
    store: Arc<dyn JobStore>,
    watch: Watch,
    metrics: Arc<Metrics>,
}

impl Hearing {
    /// Puts words down in `store`, tells `watch` of them, and counts what becomes of them.
    pub fn new(store: Arc<dyn JobStore>, watch: Watch, metrics: Arc<Metrics>) -> Self {
        Self { store, watch, metrics }
    }

    /// Passes on what the handlers of this process say, until `stop`. While the store is away the latest words wait.
    pub async fn listen(self, running: Running, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PACE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // No more than there are handlers: with the store away none can end.
        let mut unheard: HashMap<(String, i64), Word> = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            unheard.extend(running.words().into_iter().map(|word| ((word.id.clone(), word.lease), word)));
            let words: Vec<Word> = unheard.values().cloned().collect();
            match self.hear(&words, Speaker::Here).await {
                Ok(()) => unheard.clear(),
                Err(error) => tracing::warn!(error = %error, "cannot put down how far jobs are, trying again"),
            }
        }
    }

    /// Puts words down, if their jobs are where they say. One that cannot be a job's is counted as any other that is not.
    pub(crate) async fn hear(&self, words: &[Word], speaker: Speaker<'_>) -> Result<(), StoreError> {
        for words in words.chunks(TOGETHER) {
            let said: Vec<(Uuid, &Word)> =
                words.iter().filter_map(|word| Some((Uuid::parse_str(&word.id).ok()?, word))).collect();
            let ids: Vec<Uuid> = said.iter().map(|(id, _)| *id).collect::<HashSet<_>>().into_iter().collect();
            let now = clock::now();
            let jobs: HashMap<Uuid, Job> = self.store.load(&ids).await?.into_iter().map(|job| (job.id, job)).collect();
            // Before the newest is looked for: what a stranger says is not to hide what the worker does.
            let trusted = |id: &Uuid, word: &Word| match (speaker, jobs.get(id)) {
                (Speaker::Elsewhere(trust), Some(job)) => trust.check(*id, &job.kind, word.run, word.token.as_deref()).is_ok(),
                (Speaker::Here | Speaker::Holder, _) | (_, None) => true,
            };
            let (said, forged): (Vec<_>, Vec<_>) = said.into_iter().partition(|(id, word)| trusted(id, word));
            let heard = newest(said).into_iter().filter_map(|(id, word)| {
                let status = &jobs.get(&id)?.status;
                let lease = match speaker {
                    Speaker::Here => Some(word.lease),
                    Speaker::Elsewhere(_) => None,
                    Speaker::Holder => rules::lease_of(status),
                };
                rules::is_at(status, word.run, lease).then(|| (id, progress(word, now)))
            });
            let heard: Vec<(Uuid, Progress)> = heard.collect();
            let kept = if heard.is_empty() { Vec::new() } else { self.store.put_progress(&heard).await? };
            for (id, progress) in heard.iter().filter(|(id, _)| kept.contains(id)) {
                self.watch.tell_progress(*id, progress);
            }
            self.count("kept", kept.len());
            self.count("forged", forged.len());
            self.count("late", words.len() - forged.len() - kept.len());
        }
        Ok(())
    }

    /// Counts words by what became of them.
    pub(crate) fn count(&self, result: &str, words: usize) {
        if words > 0 {
            self.metrics.progress.with_label_values(&[result]).inc_by(words as u64);
        }
    }
}

/// The newest word about each job.
fn newest(words: Vec<(Uuid, &Word)>) -> HashMap<Uuid, &Word> {
    let mut newest: HashMap<Uuid, &Word> = HashMap::new();
    let order = |word: &Word| (word.run.epoch, word.run.attempt, word.lease, word.progress.at);
    for (id, word) in words {
        let known = newest.entry(id).or_insert(word);
        if order(known) < order(word) {
            *known = word;
        }
    }
    newest
}

/// As it is stored. Clocks differ: nothing was said later than now, or no later word could be told from it.
fn progress(word: &Word, now: i64) -> Progress {
    Progress {
        epoch: word.run.epoch,
        attempt: word.run.attempt,
        lease: word.lease,
        percent: i16::from(word.progress.percent),
        note: word.progress.note.clone(),
        at: word.progress.at.as_microsecond().min(now),
    }
}
