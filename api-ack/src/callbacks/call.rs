//! One call: what is sent, and what its answer means.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Callbacks, schedule, sign, told};
use crate::store::{Call, Callback, CallbackState, Claimed, Settled, StoreError};
use database::clock;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where to. It was checked a moment ago; the addresses behind its name were not.
    pub url: String,
    /// `webhook-id`: the same on every call about one end of a job.
    pub id: String,
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// JSON.
    pub body: Bytes,
    /// The trace of the job, if it has one.
    pub traceparent: Option<String>,
    /// How long it may take in all.
    pub timeout: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answered {
        /// Its status.
        status: u16,
        /// How long the receiver asks to be left alone; whoever calls bounds it.
        retry_after: Option<Duration>,
    },
    /// None, and why, for people: it begins with a stable code.
    Failed(String),
}

/// What makes the calls. It resolves names, and connects to no address that [`super::CallbackRules::admits`] refuses; it follows no redirect.
#[async_trait]
pub trait Courier: Send + Sync + 'static {
    /// Sends it once.
    async fn post(&self, post: &Post) -> Reply;
}

/// The longest text of an error that is kept, in characters.
const SHOWN: usize = 256;

impl Callbacks {
    /// Calls, unless there is nothing to tell or nobody to tell it to.
    ///
    /// # Errors
    /// When the store cannot say what there is to tell.
    pub(super) async fn call(&self, claimed: Claimed) -> Result<Settled, StoreError> {
        let Claimed { callback, stopped } = claimed;
        if stopped {
            self.metrics.came("stopped");
            return Ok(settled(callback, (CallbackState::Disabled, None), None));
        }
        // A call that takes the process along has no outcome, and counts all the same.
        if usize::try_from(callback.calls).is_ok_and(|calls| calls > self.rules.delays().len() + 1) {
            self.metrics.came("given_up");
            return Ok(settled(callback, (CallbackState::Failed, None), None));
        }
        let Some(record) = self.stores.jobs.record_of(callback.job).await? else {
            return Ok(settled(callback, (CallbackState::Failed, None), None));
        };
        // Whoever redrives a job wants to hear how that ends; this end is history.
        let Some(body) = told::body(&record).filter(|_| record.job.status.epoch == callback.epoch) else {
            self.metrics.came("moot");
            return Ok(settled(callback, (CallbackState::Waiting, None), None));
        };
        let begun = Instant::now();
        let at = clock::now();
        let traceparent = self.stores.jobs.traceparent_of(callback.job).await?;
        let reply = match self.post(&callback, body, at) {
            Ok(post) => {
                let post = Post { traceparent, ..post };
                let reply = self.courier.post(&post).await;
                self.metrics.took(begun.elapsed());
                reply
            }
            Err(why) => Reply::Failed(why),
        };
        let took_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
        Ok(self.learn(callback, &reply, at, took_ms))
    }

    /// What is sent, as the configuration of this moment has it.
    fn post(&self, callback: &Callback, body: Bytes, at: i64) -> Result<Post, String> {
        let target = self.rules.check_url(&callback.target.url).map_err(|why| format!("refused: {why}"))?;
        let secrets = self.rules.secrets(&callback.tenant, at);
        if secrets.is_empty() {
            return Err("no-secret: the tenant has no secret to sign with".to_owned());
        }
        let id = format!("job_{}_{}", callback.job.simple(), callback.epoch);
        let timestamp = at.div_euclid(1_000_000);
        let signature = sign::signatures(&secrets, &id, timestamp, &body);
        Ok(Post { url: target.url, id, timestamp, signature, body, traceparent: None, timeout: self.options.timeout })
    }

    fn learn(&self, callback: Callback, reply: &Reply, at: i64, took_ms: u32) -> Settled {
        let (status, asked, error) = match reply {
            Reply::Answered { status, retry_after } => (Some(*status), *retry_after, refused(*status)),
            Reply::Failed(why) => (None, None, Some(why.clone())),
        };
        let now = clock::now();
        let (became, result) = match (status, &error) {
            (_, None) => ((CallbackState::Delivered, None), "delivered"),
            (Some(410), _) => ((CallbackState::Disabled, None), "disabled"),
            _ => {
                let became = schedule::after_failure(&self.rules.delays(), callback.calls, now, asked, jitter());
                (became, if became.0 == CallbackState::Failed { "given_up" } else { "failed" })
            }
        };
        self.metrics.came(result);
        if let Some(why) = &error {
            tracing::info!(job = %callback.job, host = callback.target.host, call = callback.calls, result, "a callback failed: {why}");
        }
        let error = error.map(|why| why.chars().filter(|c| !c.is_control()).take(SHOWN).collect());
        let call = Call { at, status, error, took_ms };
        Settled { stop: result == "disabled", ..settled(callback, became, Some(call)) }
    }
}

fn settled(callback: Callback, (state, due_at): (CallbackState, Option<i64>), call: Option<Call>) -> Settled {
    let mut history = callback.history;
    history.extend(call);
    Settled { job: callback.job, claim: callback.claim, state, due_at, history, at: clock::now(), stop: false }
}

/// Why an answer is no success.
fn refused(status: u16) -> Option<String> {
    match status {
        200..=299 => None,
        300..=399 => Some(format!("http-{status}: answered with a redirect, which is not followed")),
        410 => Some("http-410: the receiver wants no more callbacks at this address".to_owned()),
        _ => Some(format!("http-{status}: answered {status}")),
    }
}

/// Between 0 and 1: the last 32 bits of a UUIDv7 are random, so that no further crate is needed.
fn jitter() -> f64 {
    f64::from(uuid::Uuid::now_v7().as_u64_pair().1 as u32) / f64::from(u32::MAX)
}
