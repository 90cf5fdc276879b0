//! What is kept about a destination of calls, and the port to it.

use async_trait::async_trait;

use super::{Micros, StoreError};

/// The verdict on a destination, as all processes share it. One that was never held has no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its name, at most 255 bytes.
    pub name: String,
    /// Whether calls are held back.
    pub held: bool,
    /// Why it is held: `failing`, `slow` or `throttled`; empty when it is not.
    pub reason: String,
    /// Since when it is held, or is not held any more.
    pub since: Micros,
    /// While it is held: when one call may try it.
    pub probe_at: Micros,
    /// While a process tries it: until when that counts; 0 otherwise.
    pub probing_until: Micros,
}

/// Destinations of calls.
#[async_trait]
pub trait DestinationStore: Send + Sync + 'static {
    /// All of them, by name; at most 10,000.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn destinations(&self) -> Result<Vec<Destination>, StoreError>;

    /// Holds a destination until `probe_at`, for longer if it is held already, never for less. Ends a probe.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn hold(&self, name: &str, reason: &str, now: Micros, probe_at: Micros) -> Result<(), StoreError>;

    /// Whether the caller may try a held destination: its time has come, and nobody else tries it. Until `until` nobody else may.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn claim_probe(&self, name: &str, now: Micros, until: Micros) -> Result<bool, StoreError>;

    /// Holds a destination no longer, if the probe that was claimed until `claim` still counts: what was heard since may hold it
    /// anew. Answers whether it was released.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn release(&self, name: &str, now: Micros, claim: Micros) -> Result<bool, StoreError>;
}
