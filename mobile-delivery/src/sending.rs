//! Sending: one durable write, shared with whoever else is waiting, then the answer.
//!
//! ```text
//! request -> Sender (options, key) -> group commit (store.send) -> 202
//!                                       '-> whoever relays and serves the devices hears of it
//! ```
//!
//! An answer that says accepted means fsynced. Whatever else comes back means: not promised; the sender tries again with the same key
//! and sends one message.
//!
//! Refuses to own who may send, and how a request looks. Limits: those of the store ([`Limits`]) and of the writer.

mod options;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use database::clock;
use database::writer::{Writer, WriterOptions};
use door::timing::TimingError;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use options::Options;
use writer::Messages;

use crate::follow::Follow;
use crate::store::{Key, Limits, Message, MessageStore, NewMessage, Number, Sent, StoreError, Target};

/// Bytes of a sender's name at most.
const SENDER: usize = 128;

/// A message that somebody wants to send. Its size is checked at the door, before this.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Of whose devices.
    pub tenant: String,
    /// Who sends it: up to 128 bytes.
    pub sender: String,
    /// The device that publishes it, to a group that it is in; `None`: a back end sends it.
    pub publisher: Option<Number>,
    /// To whom.
    pub target: Target,
    /// MIME type of the body.
    pub content_type: String,
    /// As it came.
    pub body: Bytes,
    /// How it is to be treated.
    pub options: Options,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// `Idempotency-Key`, without its quotes: scoped by tenant, sender and target.
    pub key: Option<String>,
}

/// The answer: durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message.
    pub id: Uuid,
    /// The key was used before, with the same request: this is the first answer again.
    pub replayed: bool,
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// A part of it is wrong.
    #[error("`{field}` {why}")]
    Invalid {
        /// Which, as batches call it.
        field: &'static str,
        /// What it must be.
        why: String,
    },
    /// It asks for a time that cannot be had.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// It asks for another priority than there are.
    #[error("`priority` must be `normal` or `high`")]
    Priority,
    /// The key was used before, for another request.
    #[error("this Idempotency-Key was used for another message")]
    KeyReused,
    /// The key's first request, or somebody else at one of the devices, is not decided after 2 s.
    #[error("another request is not decided yet")]
    Undecided,
    /// There is no such device.
    #[error("there is no device `{0}`")]
    UnknownDevice(String),
    /// A device that it names was revoked.
    #[error("the device `{0}` was revoked")]
    Revoked(String),
    /// There is none that it would go to.
    #[error("there is no device that it would go to")]
    NoDevices,
    /// It is for more devices than one message may be.
    #[error("a message goes to 100 devices at most")]
    TooMany,
    /// The device that publishes it is not in the group.
    #[error("the device is not in the group")]
    NotAMember,
    /// Devices may not publish to the group.
    #[error("devices may not publish to the group")]
    NotARoom,
    /// The tenant's devices have too much to get already.
    #[error("too many messages wait for devices of this tenant")]
    TenantFull,
    /// Messages come faster than the database commits.
    #[error("too many messages wait to be stored")]
    Full,
    /// The database does not answer. Whether the message is stored is unknown: try again with the same key.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The database refuses this very message.
    #[error("the store refuses this message: {0}")]
    Refused(String),
}

impl SendError {
    fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { field, why: why.into() }
    }
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(why) => Self::Refused(why),
            StoreError::Undecided(_) => Self::Undecided,
            StoreError::Unavailable(why) | StoreError::Unusable(why) => Self::Unavailable(why),
        }
    }
}

/// Sends messages. Cheap to clone; its writer ends when the last clone is gone.
#[derive(Clone)]
pub struct Sender {
    writer: Writer<Messages>,
    limits: Limits,
}

impl Sender {
    /// Starts the writer. `follow` hears of what was stored.
    pub fn start(
        store: Arc<dyn MessageStore>,
        limits: Limits,
        options: WriterOptions,
        follow: Arc<dyn Follow>,
        tasks: &TaskTracker,
    ) -> Self {
        let messages = Messages { store, limits, follow };
        Self { writer: Writer::start(Arc::new(messages), options, tasks), limits }
    }

    /// Stores a message durably, or says why not. The only wait is for the commit.
    ///
    /// # Errors
    /// As [`SendError`]; only `Unavailable` leaves it open whether it is stored.
    pub async fn send(&self, sending: Sending) -> Result<Accepted, SendError> {
        self.put(sending)?.decided().await
    }

    /// Puts a message behind those that were put before: who waits for it after that waits for the commit.
    ///
    /// # Errors
    /// As [`SendError`], of what shows before it is stored.
    pub fn put(&self, sending: Sending) -> Result<Undecided, SendError> {
        let new = self.message(sending)?;
        let (reply, answer) = oneshot::channel();
        self.writer.put((new, reply)).map_err(|_| SendError::Full)?;
        Ok(Undecided(answer))
    }

    fn message(&self, sending: Sending) -> Result<NewMessage, SendError> {
        if sending.sender.len() > SENDER {
            return Err(SendError::invalid("sender", format!("has over {SENDER} bytes: devices are shown who sends")));
        }
        let now = clock::now();
        let treatment = sending.options.treatment(&self.limits, now)?;
        let key = key_of(&sending);
        Ok(NewMessage {
            message: Message {
                id: Uuid::now_v7(),
                sender: sending.sender,
                kind: sending.options.kind.unwrap_or_default(),
                content_type: sending.content_type,
                body: sending.body,
                traceparent: sending.traceparent,
                collapse_key: sending.options.collapse_key,
                priority: treatment.priority,
                created_at: now,
            },
            tenant: sending.tenant,
            target: sending.target,
            publisher: sending.publisher,
            ttl: treatment.ttl,
            not_before: treatment.not_before,
            receipt: sending.options.receipt.unwrap_or(false),
            key,
        })
    }
}

/// A message that waits for its commit. It is stored or not, whether anybody waits for that or not.
pub struct Undecided(oneshot::Receiver<Result<Sent, StoreError>>);

impl Undecided {
    /// What became of it.
    ///
    /// # Errors
    /// As [`SendError`]; only `Unavailable` leaves it open whether it is stored.
    pub async fn decided(self) -> Result<Accepted, SendError> {
        let sent = self.0.await.map_err(|_| SendError::Unavailable("the process is shutting down".to_owned()))??;
        match sent {
            Sent::Accepted { message, .. } => Ok(Accepted { id: message, replayed: false }),
            Sent::Existing { message } => Ok(Accepted { id: message, replayed: true }),
            Sent::Conflict { .. } => Err(SendError::KeyReused),
            Sent::UnknownDevice { device } => Err(SendError::UnknownDevice(device)),
            Sent::Revoked { device } => Err(SendError::Revoked(device)),
            Sent::NoDevices => Err(SendError::NoDevices),
            Sent::TooMany => Err(SendError::TooMany),
            Sent::NotAMember => Err(SendError::NotAMember),
            Sent::NotARoom => Err(SendError::NotARoom),
            Sent::BacklogFull => Err(SendError::TenantFull),
            // The writer keeps these to itself.
            Sent::Deferred => Err(SendError::Full),
        }
    }
}

fn key_of(sending: &Sending) -> Option<Key> {
    let key = sending.key.as_ref()?;
    // Where it goes is part of the scope, wherever it was asked for: alone, or within a batch.
    let to = match &sending.target {
        // Nor are a device and a back end that goes by the same name the same sender.
        Target::Log(audience) if let Some(device) = sending.publisher => {
            format!("published {} {}", device.0, audience.tag())
        }
        Target::Devices(ids) => format!("device {}", ids.join(",")),
        Target::User { user, .. } => format!("user {user}"),
        Target::Log(audience) => format!("audience {}", audience.tag()),
    };
    Some(Key {
        hash: door::key::hash(&sending.tenant, &sending.sender, &to, key),
        fingerprint: door::key::fingerprint(&sending.content_type, &sending.body, sending.options.said()),
    })
}
