//! What devices have heard of the log, of all sessions in one statement.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::tenure::Tenure;
use super::{Post, Sessions};
use crate::protocol::Close;
use crate::store::{Heard, Hearing, StoreError};

/// Devices in one statement.
const TOGETHER: usize = 512;

/// From the beginning of one statement to that of the next. It is one number of each device, which the next one takes the place of: a busy group costs a
/// write of each member in this time and not one for each message.
const PACE: Duration = Duration::from_millis(100);

/// How often it is tried to say by which tags a session goes.
const TRIES: u32 = 5;

/// What a device has heard, and who wants to know that it is stored.
pub(super) struct Hears {
    pub(super) hearing: Hearing,
    pub(super) who: HearsFor,
}

/// Who waits for it.
pub(super) enum HearsFor {
    /// A session that goes on.
    Session(Arc<Post>),
    /// A request.
    Request(oneshot::Sender<Result<Heard, StoreError>>),
    /// Nobody: a session that has ended.
    Nobody,
}

impl Hears {
    fn told(self, heard: Result<Heard, StoreError>) {
        match (self.who, heard) {
            (HearsFor::Session(post), Ok(heard)) => post.heard(heard, self.hearing.entry),
            // It is refused for what can only be a fault of ours; the device hears it once more.
            (HearsFor::Session(_) | HearsFor::Nobody, Err(error)) => {
                tracing::error!(error = %error, "the store refuses what a device has heard");
            }
            (HearsFor::Request(reply), heard) => drop(reply.send(heard)),
            (HearsFor::Nobody, Ok(_)) => {}
        }
    }
}

impl Sessions {
    /// Has the store know by which tags a session goes: until then what its device acks by requests is refused. A session of which that cannot be said ends.
    pub(super) fn says_what_it_goes_by(self, tenure: &Tenure, roster: i64) -> impl Future<Output = ()> + Send + 'static {
        let (device, fence, post) = (tenure.identity.number, tenure.fence, tenure.post.clone());
        async move {
            for tried in 1..=TRIES {
                match self.0.stores.log.goes_by(device, fence, roster).await {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(error = %error, "cannot say by which groups a session goes, trying again"),
                }
                tokio::time::sleep(Duration::from_millis(200) * tried).await;
            }
            post.end(Close::Unavailable, "the store does not answer: come back");
        }
    }

    /// Stores what was heard, until `over` and nothing is left. That of sessions is tried until the store has it.
    pub(super) async fn hears(self, over: CancellationToken) {
        let inner = &self.0;
        while let Some(taken) = inner.hearing.take(TOGETHER, &over).await {
            // Who waits behind a full statement has waited for long enough.
            let next = Instant::now() + if taken.len() < TOGETHER { PACE } else { Duration::ZERO };
            let mut devices = HashSet::with_capacity(taken.len());
            let (mut batch, later): (Vec<_>, Vec<_>) = taken.into_iter().partition(|one| devices.insert(one.hearing.device));
            later.into_iter().for_each(|one| inner.hearing.put(one));
            let mut wait = Duration::from_millis(50);
            while !batch.is_empty() {
                let rows: Vec<Hearing> = batch.iter().map(|one| one.hearing).collect();
                match inner.stores.log.hear(&rows).await {
                    Ok(heard) => batch.drain(..).zip(heard).for_each(|(one, heard)| one.told(Ok(heard))),
                    Err(error @ (StoreError::Refused(_) | StoreError::Unusable(_))) => {
                        batch.drain(..).for_each(|one| one.told(Err(error.clone())));
                    }
                    Err(error) => {
                        let is_request = |one: &mut Hears| matches!(one.who, HearsFor::Request(_));
                        batch.extract_if(.., is_request).for_each(|one| one.told(Err(error.clone())));
                        if over.is_cancelled() {
                            tracing::warn!(error = %error, devices = batch.len(), "what devices have heard is not stored; it comes once more");
                            break;
                        }
                        tracing::warn!(error = %error, devices = batch.len(), "cannot store what devices have heard, trying again");
                        tokio::select! {
                            () = tokio::time::sleep(wait) => {}
                            () = over.cancelled() => {}
                        }
                        wait = (wait * 2).min(Duration::from_secs(2));
                    }
                }
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = over.cancelled() => {}
            }
        }
    }
}
