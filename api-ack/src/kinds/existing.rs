//! Exchanges and queues that were there before Warren, and stay somebody else's: never declared, changed or consumed by it.

use broker_topology::{Names, Priority};

use super::KindSpec;

/// Where the jobs of a kind go instead of `jobs.<kind>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// The exchange; empty is the default one, whose routing keys are names of queues.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// The queue that its messages come to, if one is to be looked at.
    pub queue: Option<String>,
    /// What a message looks like.
    pub format: Format,
    /// When a job is done.
    pub completion: Completion,
}

/// What a message looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A CloudEvent in binary mode with Warren's headers, as on `jobs.<kind>`.
    CloudEvents,
    /// The payload as it was accepted, with AMQP properties and no header.
    Raw,
}

/// When a job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// When whoever consumes it says so on `warren.results`.
    Report,
    /// When the broker has confirmed its message.
    Handoff,
}

impl KindSpec {
    /// Whether a job is done once the broker has its message.
    pub fn hands_off(&self) -> bool {
        self.existing.as_ref().is_some_and(|existing| existing.completion == Completion::Handoff)
    }

    /// The queue where jobs of a class wait for whoever does them; `None` if it is somebody else's and not named.
    pub fn queue(&self, names: &Names, class: Priority) -> Option<String> {
        match &self.existing {
            None => Some(names.queue_of(&self.kind, class)),
            Some(existing) => existing.queue.clone(),
        }
    }
}
