//! The runtime every Warren crate uses to speak to RabbitMQ, and the only one that knows lapin.
//!
//! | module | owns |
//! |---|---|
//! | [`connection`] | supervised connections: several URLs, TLS, jittered backoff without end, blocked state |
//! | [`message`], [`wire`] | a message as CloudEvents 1.0 in AMQP binary mode |
//! | [`publisher`] | confirmed, pipelined, mandatory publishing |
//! | [`consumer`] | deliveries to handlers to outcomes to acks, and the drain |
//! | [`handler`] | what a team writes |
//! | [`ledger`] | the port through which a job's start and end are recorded |
//! | [`retry`] | the retry policy, pure data |
//! | [`dead_letter`] | why and where a message died |
//!
//! It refuses to own: what a job's states are (`api-ack`), and any HTTP.
//! Delivery is at least once; an effect happens once where it shares a transaction with its inbox entry.

pub mod connection;
pub mod consumer;
pub mod dead_letter;
pub mod handler;
pub mod ledger;
pub mod message;
pub mod metrics;
pub mod publisher;
pub mod retry;
pub mod wire;

mod crash;

pub use crash::crash_point_reached;
