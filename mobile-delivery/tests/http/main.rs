//! The HTTP API of devices as a client meets it: a real listener, a real SQLite file, the real writer; nobody relays, so what is sent
//! stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod batches;
mod cancelling;
mod described;
mod ground;
mod idempotency;
mod listing;
mod refusals;
mod registering;
mod scopes;
mod sending;
mod tokens;
