//! The outbox: a message that is published if, and only if, its transaction committed.
//!
//! [`Outbox::publish_tx`] inserts a row; the [`Relay`] publishes rows and deletes those the broker confirmed. A crash at any line
//! leaves the row, so a message goes out at least once, and always under the same id.
//!
//! Rows of one batch are published in order of their ids. Between batches, processes and failed rows there is no order.
//!
//! It refuses to drop anything by itself: a row that can never be sent is *parked* with its reason and holds up nobody.

mod relay;
mod row;

use std::sync::Arc;

use sqlx::PgConnection;
use tokio::sync::Notify;

use crate::message::{Message, Route};
use crate::wire::{Outbound, Unsendable};

pub use relay::{Relay, RelayMetrics};

/// The largest body that is taken; brokers refuse larger ones by closing the channel for everybody on it.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

/// What it means when no queue takes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// Nobody subscribes: counted, and done. For events.
    IsFine,
    /// A failure that is tried again with backoff. For jobs and direct sends.
    IsAFailure,
}

/// Why a message was not put into the outbox.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The broker could not be given it, ever.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    /// Too large.
    #[error("the body has {0} bytes, {MAX_BODY} at most are sent")]
    TooLarge(usize),
    /// The message does not write as JSON.
    #[error("store a message: {0}")]
    Head(#[from] serde_json::Error),
    /// The database is away or refuses.
    #[error("store a message: {0}")]
    Database(#[from] sqlx::Error),
}

/// The way into the outbox of this process's database. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    wake: Arc<Notify>,
}

impl Outbox {
    /// Puts a message into the outbox, in the transaction of the change it tells of.
    ///
    /// # Errors
    /// As [`OutboxError`]. After [`OutboxError::Database`] the transaction is of no more use.
    pub async fn publish_tx(
        &self,
        tx: &mut PgConnection,
        route: Route,
        message: &Message,
        unrouted: Unrouted,
    ) -> Result<(), OutboxError> {
        if message.body.len() > MAX_BODY {
            return Err(OutboxError::TooLarge(message.body.len()));
        }
        Outbound::new(route.clone(), message)?;
        row::insert(tx, &route, message, unrouted).await
    }

    /// Tells the relay of this process that a transaction committed. Without it the row waits for the next poll.
    pub fn committed(&self) {
        self.wake.notify_one();
    }
}
