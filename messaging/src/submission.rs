//! What is submitted by message to `warren.submit`: the port between who consumes that queue and whoever makes rows of what is theirs.
//!
//! Refuses to own what a message becomes, and where one that becomes nothing is kept.

use async_trait::async_trait;

use crate::consumer::Delivered;

/// Why nothing became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Something may become of it later, as of those behind it: all stay in the queue. Why, for the log.
    ForNow(String),
    /// Something may become of it later; those of other tenants may be taken now.
    Apart,
    /// Nothing ever will: it is a dead letter.
    ForEver {
        /// A stable word.
        code: &'static str,
        /// For people.
        detail: String,
    },
}

/// Takes some of what is submitted.
#[async_trait]
pub trait Submit: Send + Sync + 'static {
    /// Whether this is for it, as it came.
    fn is_for(&self, delivered: &Delivered) -> bool;

    /// Takes it; when this returns it is durable, and may be acked. A message that comes again finds what it became. Polled for the first time in the order in
    /// which messages came.
    ///
    /// # Errors
    /// As [`Refused`]; then nothing of it is stored, or it is not known whether.
    async fn submit(&self, delivered: &Delivered) -> Result<(), Refused>;
}
