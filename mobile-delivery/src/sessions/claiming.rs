//! Claims of many connections in one statement, and the ends of sessions likewise.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use database::clock;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::tenure::{Entry, Identity, Tenure};
use super::{Post, Sessions};
use crate::receipts::Presence;
use crate::store::{Claim, Claimed, Number, Standing, StoreError, Temperature, Transport};

/// Claims, or ends of sessions, in one statement.
const TOGETHER: usize = 512;

/// A device that has come.
pub(super) struct Coming {
    pub(super) identity: Arc<Identity>,
    pub(super) transport: Transport,
    pub(super) reply: oneshot::Sender<Result<Begun, NotBegun>>,
}

/// Its session has begun.
pub(super) struct Begun {
    pub(super) tenure: Tenure,
    /// The `seq` given last by then, if there is nothing for it but what its lane brings.
    pub(super) caught_up: Option<i64>,
    /// The broker that its lane is at, if it is hot.
    pub(super) hot: Option<String>,
    /// Where the device stands with the log.
    pub(super) standing: Standing,
}

/// Why it has not.
#[derive(Clone, Debug)]
pub(super) enum NotBegun {
    Revoked,
    Unknown,
    Away(StoreError),
}

/// A session that has ended.
pub(super) struct Leaving {
    pub(super) identity: Arc<Identity>,
    pub(super) fence: i64,
    pub(super) session: Uuid,
    pub(super) transport: Transport,
    /// Where it is missed.
    pub(super) rooms: Vec<String>,
}

impl Sessions {
    /// Claims for those who wait, until `over`.
    pub(super) async fn claims(self, over: CancellationToken) {
        let inner = &self.0;
        while let Some(coming) = inner.coming.take(TOGETHER, &over).await {
            let mut devices = HashSet::with_capacity(coming.len());
            let mut together = Vec::with_capacity(coming.len());
            for one in coming.into_iter().filter(|one| !one.reply.is_closed()) {
                // Newest wins: the second of one device is claimed after the first.
                match devices.insert(one.identity.number) {
                    true => together.push(one),
                    false => inner.coming.put(one),
                }
            }
            let claim = |one: &Coming| Claim {
                device: one.identity.number,
                process: inner.me,
                session: Uuid::now_v7(),
                transport: one.transport,
            };
            let claims: Vec<Claim> = together.iter().map(claim).collect();
            if claims.is_empty() {
                continue;
            }
            match inner.stores.sessions.claim(&claims, clock::now()).await {
                Ok(claimed) => {
                    together
                        .into_iter()
                        .zip(claims)
                        .zip(claimed)
                        .for_each(|((one, claim), claimed)| self.begin(one, &claim, claimed));
                }
                Err(error) => {
                    inner.metrics.claims("unavailable", together.len());
                    for one in together {
                        let _ = one.reply.send(Err(NotBegun::Away(error.clone())));
                    }
                }
            }
        }
    }

    fn begin(&self, one: Coming, claim: &Claim, claimed: Claimed) {
        let inner = &self.0;
        let Claimed::Yours { fence, previous, seq, backlog, gap, temperature, shard, standing } = claimed else {
            inner.metrics.claims("refused", 1);
            let refused = if claimed == Claimed::Revoked { NotBegun::Revoked } else { NotBegun::Unknown };
            let _ = one.reply.send(Err(refused));
            return;
        };
        inner.metrics.claims("claimed", 1);
        inner.metrics.sessions(one.transport).inc();
        let post = Arc::new(Post::default());
        inner.live.enter(claim.device, Entry { fence, post: post.clone() });
        match previous {
            Some(previous) if previous.process != inner.me => {
                inner.telling.over(previous.process, claim.device, previous.fence);
            }
            Some(_) => {}
            None => self.tell(&one.identity, claim.session, one.transport, true),
        }
        let tenure = Tenure {
            sessions: self.clone(),
            identity: one.identity,
            session: claim.session,
            fence,
            transport: one.transport,
            post,
        };
        let caught_up = (backlog == 0 && gap.is_none()).then_some(seq);
        let hot = (temperature == Temperature::Hot).then_some(shard);
        // Who does not wait any more ends it by dropping it.
        let _ = one.reply.send(Ok(Begun { tenure, caught_up, hot, standing: *standing }));
    }

    /// Tells who wants to hear it. A session that takes the place of another neither comes nor goes.
    pub(super) fn tell(&self, identity: &Identity, session: Uuid, transport: Transport, online: bool) {
        let Some(outlet) = &self.0.outlet else { return };
        let text = |text: &str| text.to_owned();
        let (tenant, device, user) = (text(&identity.tenant), text(&identity.id), text(&identity.user));
        outlet.tell(Presence { online, tenant, device, user, session, transport, at: clock::now() });
    }

    /// Ends in the store what has ended, until `over` and no more is left. What the store does not take is tried again while there is time;
    /// a process that goes without leaves it to those who look after lapsed ones.
    pub(super) async fn releases(self, over: CancellationToken) {
        let inner = &self.0;
        while let Some(leaving) = inner.leaving.take(TOGETHER, &over).await {
            let mut devices = HashSet::with_capacity(leaving.len());
            let (mut together, mut next) = (Vec::with_capacity(leaving.len()), Vec::new());
            for one in leaving {
                if devices.insert(one.identity.number) { together.push(one) } else { next.push(one) }
            }
            let rows: Vec<(Number, i64)> = together.iter().map(|one| (one.identity.number, one.fence)).collect();
            let mut wait = Duration::from_millis(100);
            loop {
                match inner.stores.sessions.release(&rows, clock::now()).await {
                    Ok(were) => {
                        for (one, was) in together.iter().zip(were) {
                            if was {
                                self.tell(&one.identity, one.session, one.transport, false);
                            }
                            // Whoever has ended it: it is missed.
                            self.attendance_changed(&one.identity.tenant, &one.rooms);
                        }
                        break;
                    }
                    Err(error) if over.is_cancelled() => {
                        tracing::warn!(error = %error, sessions = rows.len(), "sessions are left to be released by others");
                        break;
                    }
                    Err(error) => tracing::warn!(error = %error, sessions = rows.len(), "cannot release sessions, trying again"),
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = over.cancelled() => {}
                }
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            next.into_iter().for_each(|one| inner.leaving.put(one));
        }
    }
}
