//! What operators do to devices, of whichever tenant: empty a backlog, end a session, make tokens.
//!
//! Owns the steps and who is told after each commit. Refuses to own who may ask, and what is put on record of it.
//!
//! Whatever is asked for is asked for again after a lost answer: what was done by then stays done. A process that dies half-way has emptied a backlog in part;
//! the device is told of that part, and who asks again empties the rest.

use std::sync::Arc;

use database::clock;
use door::problem::Problem;

use crate::follow::Follow;
use crate::http::refusals::{no_device, no_tokens, revoked, token};
use crate::sessions::Sessions;
use crate::store::{Device, Hash, Limit, Pending, Session, StoreError, Stores};
use crate::tokens::{Token, Tokens};

/// Messages that end by one commit.
const STEP: u32 = 500;

/// What operators do. Cheap to clone.
#[derive(Clone)]
pub struct Operating {
    stores: Stores,
    sessions: Sessions,
    tokens: Option<Tokens>,
    follow: Arc<dyn Follow>,
}

/// What a device shows to be let in.
#[derive(Clone)]
pub struct Credentials {
    /// Its token.
    pub token: Token,
    /// What it gets the next token with, if a new one was asked for: the one before counts no more.
    pub refresh_token: Option<String>,
}

impl Operating {
    /// On these rows and sessions; without `tokens` the hub makes none. `follow` hears of devices that are shut out.
    pub fn new(stores: Stores, sessions: Sessions, tokens: Option<Tokens>, follow: Arc<dyn Follow>) -> Self {
        Self { stores, sessions, tokens, follow }
    }

    /// The rows.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// What waits longest for a device, within `limit`.
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn waiting(&self, device: &Device, limit: Limit) -> Result<Pending, StoreError> {
        self.stores.sessions.pending(device.number, 0, limit, clock::now()).await
    }

    /// Drops all that `device` had to get when it was read; what came since stays, and so does what is scheduled. Answers how many messages.
    ///
    /// Each is told to its sender as `dropped`, reason `purged`, and the device by a gap, at once if it is connected. What is in its hands unacked is among
    /// them: its ack changes nothing any more. It goes on to its end when whoever asked does not wait for it.
    ///
    /// # Errors
    /// As [`StoreError`]; some may be dropped then.
    pub async fn purge(&self, device: Device) -> Result<u32, StoreError> {
        let operating = self.clone();
        let purging = self.sessions.tasks().spawn(async move { operating.empty(&device).await });
        purging.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the purge was cut off".to_owned())))
    }

    async fn empty(&self, device: &Device) -> Result<u32, StoreError> {
        let mut purged = 0;
        let done = loop {
            match self.stores.messages.empty(device.number, device.seq, clock::now(), STEP).await {
                Ok(step) => {
                    purged += step;
                    if step < STEP {
                        break Ok(purged);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.sessions.receipts_written();
        // Who has the device now, has read it before or after this: he looks again.
        let now = self.stores.devices.numbered(device.number).await;
        if let Some(session) = now.ok().flatten().and_then(|device| device.session) {
            self.sessions.put_out(device.number, &session);
        }
        done
    }

    /// Ends the session that `device` had when it was read, so that the device comes back: 4205. Answers whether it had it still.
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn kick(&self, device: &Device) -> Result<bool, StoreError> {
        match &device.session {
            Some(session) => self.sessions.release_of(device, session).await,
            None => Ok(false),
        }
    }

    /// Lets `device` in no more until it has another refresh token, and ends its session for good: 4105. Answers the session.
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn revoke(&self, device: &Device) -> Result<Option<Session>, StoreError> {
        let session = self.stores.devices.revoke(device.number, clock::now()).await?.flatten();
        if let Some(session) = &session {
            self.sessions.put_out(device.number, session);
        }
        self.follow.shut_out(&device.registration.tenant, &device.registration.id);
        Ok(session)
    }

    /// Makes a token for `device`; with `rotate` a refresh token too, in place of all before it, which lets a revoked device in again.
    ///
    /// # Errors
    /// `no-tokens` where the hub has no key to sign with; `device-revoked` of one that is to stay out; `device-not-found` of one that was removed meanwhile;
    /// `store-unavailable`.
    pub async fn token(&self, device: &Device, rotate: bool) -> Result<Credentials, Problem> {
        let tokens = self.tokens.as_ref().ok_or_else(no_tokens)?;
        let (tenant, id) = (&device.registration.tenant, &device.registration.id);
        if device.revoked_at.is_some() && !rotate {
            return Err(revoked(id));
        }
        let refresh_token = if rotate { Some(Tokens::first(id)?) } else { None };
        if let Some(first) = &refresh_token
            && !self.stores.devices.credit(device.number, Hash::of(first), clock::now()).await?
        {
            return Err(no_device(id));
        }
        Ok(Credentials { token: token(tokens, tenant, id)?, refresh_token })
    }
}
