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
//! | [`keys`] | which routing keys were published in the last hour |
//! | [`retry`] | the retry policy, pure data |
//! | [`apply`] | a topology on a live broker |
//! | [`migration`] | a queue made anew with other arguments, without losing a message |
//! | [`tap`] | messages taken one by one, by whoever plays a part in person |
//! | [`devices`] | lanes: a queue for each device, declared, published to, consumed from, retired |
//! | [`dead_letter`] | why and where a message died |
//! | [`submission`] | the port through which submitted messages become rows |
//! | [`results`] | what is reported on `warren.results` when a run has ended |
//! | [`inbox`], [`outbox`] | an effect once, and a message if and only if its transaction committed, in a service's Postgres |
//! | [`service_ledger`], [`event_ledger`] | the ledgers of a process without the hub's database, for jobs and for events |
//! | [`trace`] | spans of one trace over HTTP, broker and services, exported over OTLP |
//! | [`process`], [`schema`] | the heartbeat, and the tables all this needs |
//! | [`service`] | a service: all of it started, run and drained |
//!
//! It refuses to own: what a job's states are (`api-ack`), and any HTTP but the export of spans.
//! Delivery is at least once; an effect happens once where it shares a transaction with its inbox entry.

pub mod apply;
pub mod connection;
pub mod consumer;
pub mod dead_letter;
pub mod devices;
pub mod event_ledger;
pub mod greeting;
pub mod handler;
pub mod inbox;
pub mod keys;
pub mod ledger;
pub mod message;
pub mod metrics;
pub mod migration;
pub mod notices;
pub mod outbox;
pub mod process;
pub mod progress_report;
pub mod publisher;
pub mod results;
pub mod retry;
pub mod said;
pub mod schema;
pub mod service;
pub mod service_ledger;
pub mod started_report;
pub mod submission;
pub mod tap;
pub mod trace;
pub mod wire;

mod crash;
mod subscription;

pub use crash::crash_point_reached;
pub use schema::migrate;
