//! The keeper moves dead letters from the broker into the store, where they can be searched, moved back, or discarded.
//!
//! It consumes every `<queue>.dead` and `warren.lost`, stores in batches, and acks after the commit; while the store is down it
//! takes nothing more, and what it does not take stays in RabbitMQ in plain sight. A letter met twice is one row. It changes a
//! job only under [`rules::buried`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use broker_topology::Names;
use bytes::Bytes;
use messaging::consumer::{Batch, BatchHandler, Delivered, Later};
use messaging::dead_letter::death_of;
use messaging::message::{Message, Route, Run, header};
use messaging::publisher::Publisher;
use messaging::wire::Outbound;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::decide::{Decision, change, decide};
use crate::feed::Feed;
use crate::letter::letter_of;
use crate::metrics::Metrics;
use crate::rules;
use crate::store::{DeadLetter, DeadState, JobStore, Move, NewDeadLetter, StoreError, Stores};
use database::clock;

/// Stores what is found in one terminal queue.
pub struct Keeper {
    stores: Stores,
    queue: String,
    names: Names,
    feed: Option<Feed>,
}

impl Keeper {
    /// A keeper of `queue`, which is a `<queue>.dead` or `warren.lost`.
    pub fn new(stores: Stores, queue: String, names: Names) -> Self {
        Self { stores, queue, names, feed: None }
    }

    /// Notes for `feed` which jobs end here.
    #[must_use]
    pub fn feeding(self, feed: Feed) -> Self {
        Self { feed: Some(feed), ..self }
    }

    fn letter(&self, delivered: &Delivered) -> NewDeadLetter {
        let death = death_of(delivered, &self.queue, &self.names);
        let job_id = Uuid::parse_str(&delivered.message.id).ok();
        NewDeadLetter { job_id, ..letter_of(delivered, &death.queue, &death.reason, &death.error) }
    }

    async fn keep(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut letters: Vec<NewDeadLetter> = batch.iter().map(|delivered| self.letter(delivered)).collect();
        let ids: Vec<Uuid> = letters.iter().filter_map(|letter| letter.job_id).collect();
        let loaded = self.stores.jobs.load(&ids).await?;
        let known: HashMap<Uuid, String> = loaded.into_iter().map(|job| (job.id, job.tenant)).collect();
        for letter in &mut letters {
            letter.job_id = letter.job_id.filter(|id| known.contains_key(id));
            // Whose job it is, the row says: a header could be anybody's.
            if let Some(tenant) = letter.job_id.and_then(|id| known.get(&id)) {
                letter.tenant.clone_from(tenant);
            }
        }
        self.stores.dead.keep(&letters).await?;
        let jobs: Vec<(Uuid, &NewDeadLetter)> = letters.iter().filter_map(|l| Some((l.job_id?, l))).collect();
        let buried = bury(&*self.stores.jobs, &jobs).await?;
        for ((id, letter), _) in jobs.iter().zip(buried).filter(|(_, buried)| *buried) {
            if let Some(feed) = &self.feed {
                feed.note(&letter.kind, *id);
            }
        }
        Ok(())
    }
}

/// Ends jobs whose message was found dead, unless they have moved on; answers in order whether it did.
async fn bury(store: &dyn JobStore, letters: &[(Uuid, &NewDeadLetter)]) -> Result<Vec<bool>, StoreError> {
    let now = clock::now();
    decide(
        store,
        letters,
        Default::default(),
        |(id, _)| *id,
        |(_, letter), job| {
            let run = Run { epoch: letter.epoch, attempt: letter.attempt };
            let buried = job.and_then(|job| Some((job, rules::buried(&job.status, run, &letter.reason, &letter.error, now)?)));
            match buried {
                Some((job, to)) => Decision::Apply(change(job, to), true),
                None => Decision::Settled(false),
            }
        },
    )
    .await
}

#[async_trait]
impl BatchHandler for Keeper {
    async fn handle(&self, batch: &Batch) -> Result<Vec<Later>, String> {
        self.keep(batch).await.map(|()| Vec::new()).map_err(|e| e.to_string())
    }
}

/// How long a keeper has the letters it took for itself, in microseconds: twice as long as one publish may take.
const HOLD: i64 = 30_000_000;

/// How often is looked for letters to publish, and at most how often letters are counted.
const EVERY: Duration = Duration::from_secs(1);

/// Letters a keeper takes at a time: their bodies come along.
const AT_A_TIME: u32 = 16;

/// Publishes dead letters that are no jobs back to their queues, and keeps the metric of open ones.
///
/// A letter is `redriving` from the moment somebody asked until the broker has confirmed it. Of several keepers one holds it;
/// when that one fails or dies, it is published again half a minute later, under the same message id.
pub async fn redrive_others(stores: Stores, publisher: Publisher, names: Names, metrics: Arc<Metrics>, drain: CancellationToken) {
    let (mut look_at, mut count_at) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep_until(look_at) => {}
        }
        let now = clock::now();
        let held = stores.dead.hold_redriving(now, now.saturating_add(HOLD), AT_A_TIME).await.unwrap_or_default();
        // More may wait: then at once.
        let full = held.len() == AT_A_TIME as usize;
        look_at = Instant::now() + if full { Duration::ZERO } else { EVERY };
        for letter in held {
            // The last publish must be over when another keeper may take the letter.
            if clock::now() > now.saturating_add(HOLD / 2) || drain.is_cancelled() {
                break;
            }
            if let Err(error) = redrive_one(&stores, &publisher, &names, &letter).await {
                tracing::warn!(dead_letter = %letter.id, error, "cannot move a dead letter back, trying again");
            }
        }
        if Instant::now() < count_at {
            continue;
        }
        let begun = Instant::now();
        if let Ok(counts) = stores.dead.dead_counts().await {
            metrics.dead_letters.reset();
            for (queue, count) in counts {
                metrics.dead_letters.with_label_values(&[queue.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        // Millions of letters take a while to count: no more than a twentieth of the time goes into that.
        count_at = Instant::now() + EVERY.max(begun.elapsed() * 20);
    }
}

async fn redrive_one(stores: &Stores, publisher: &Publisher, names: &Names, dead: &DeadLetter) -> Result<(), String> {
    let letter = &dead.letter;
    let message = Message {
        id: letter.message_id.clone(),
        kind: letter.kind.clone(),
        source: source_of(&letter.headers),
        time: clock::timestamp(letter.died_at),
        content_type: letter.content_type.clone(),
        traceparent: letter.headers.pointer("/headers/traceparent").and_then(|v| v.as_str()).map(str::to_owned),
        // A new epoch renews the budget of attempts and tells the inbox apart from nothing: the message id stays.
        run: Some(Run { epoch: letter.epoch.max(1) + 1, attempt: letter.attempt.max(0) + 1 }),
        tenant: letter.tenant.clone(),
        headers: app_headers(&letter.headers),
        body: Bytes::clone(&letter.body),
    };
    let route = Route::new(names.return_exchange(), letter.queue.clone());
    let outbound = match Outbound::new(route, &message) {
        Ok(outbound) => outbound,
        Err(error) => {
            // It never will be: whoever looks finds it open again, with the reason.
            let note = format!("cannot be sent: {error}");
            let step = Move::new(dead.id, DeadState::Redriving, DeadState::Open, &dead.actor, &note, clock::now());
            stores.dead.resolve(&step).await.map_err(|e| e.to_string())?;
            return Err(note);
        }
    };
    publisher.publish(outbound).await.map_err(|e| e.to_string())?;
    let step = Move::new(dead.id, DeadState::Redriving, DeadState::Redriven, &dead.actor, &dead.note, clock::now());
    stores.dead.resolve(&step).await.map_err(|e| e.to_string())?;
    Ok(())
}

/// The CloudEvents source, in either spelling that is read.
fn source_of(properties: &serde_json::Value) -> String {
    let header = |name: &str| properties.get("headers")?.get(name)?.as_str();
    header("cloudEvents_source").or_else(|| header("cloudEvents:source")).unwrap_or_default().to_owned()
}

/// What Warren writes itself of a message's way: a message that is put back begins anew, with the tenant that its letter has.
const WAY: [&str; 11] = [
    header::VERSION,
    header::EPOCH,
    header::ATTEMPT,
    header::TOKEN,
    header::TENANT,
    header::EXCHANGE,
    header::KEY,
    header::MOVED_FROM,
    header::QUEUE,
    header::REASON,
    header::ERROR,
];

/// Text headers as they came, but for the broker's and those of the way: what a submission says goes along, whoever it is for.
fn app_headers(properties: &serde_json::Value) -> std::collections::BTreeMap<String, String> {
    let headers = properties.get("headers").and_then(|v| v.as_object());
    headers
        .into_iter()
        .flatten()
        .filter(|(name, _)| !name.starts_with("x-") && !name.starts_with("cloudEvents"))
        .filter(|(name, _)| !WAY.contains(&name.as_str()))
        .filter(|(name, _)| name.as_str() != header::TRACEPARENT)
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}
