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

use std::collections::HashMap;
use std::sync::Arc;

use messaging::consumer::Running;
pub(crate) use messaging::consumer::Word;
use messaging::said::PACE;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::metrics::Metrics;
use crate::rules;
use crate::store::{JobStore, Progress, StoreError};
use crate::watch::Watch;

/// Words looked at in one statement.
const TOGETHER: usize = 512;

/// Who a word of progress comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// A handler of this process, under the lease that the row has.
    Here,
    /// A service, whose leases the hub does not know.
    Elsewhere,
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
    pub(crate) async fn hear(&self, words: &[Word], speaker: Speaker) -> Result<(), StoreError> {
        for words in words.chunks(TOGETHER) {
            let newest = newest(words);
            let ids: Vec<Uuid> = newest.keys().copied().collect();
            let now = clock::now();
            let jobs = self.store.load(&ids).await?;
            let heard = jobs.iter().filter_map(|job| {
                let word = newest.get(&job.id)?;
                let lease = match speaker {
                    Speaker::Here => Some(word.lease),
                    Speaker::Elsewhere => None,
                    Speaker::Holder => rules::lease_of(&job.status),
                };
                rules::is_at(&job.status, word.run, lease).then(|| (job.id, progress(word, now)))
            });
            let heard: Vec<(Uuid, Progress)> = heard.collect();
            let kept = if heard.is_empty() { Vec::new() } else { self.store.put_progress(&heard).await? };
            for (id, progress) in heard.iter().filter(|(id, _)| kept.contains(id)) {
                self.watch.tell_progress(*id, progress);
            }
            self.count("kept", kept.len());
            self.count("late", words.len() - kept.len());
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
fn newest(words: &[Word]) -> HashMap<Uuid, &Word> {
    let mut newest: HashMap<Uuid, &Word> = HashMap::new();
    let order = |word: &Word| (word.run.epoch, word.run.attempt, word.lease, word.progress.at);
    for word in words {
        let Ok(id) = Uuid::parse_str(&word.id) else { continue };
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
