//! The HTTP API as a client meets it: a real listener, a real SQLite file, the real writer; no relay, so what is accepted stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod batch;
mod calling_back;
mod changing;
mod completing;
mod door;
mod following;
mod ground;
mod idempotency;
mod priority;
mod reading;
mod refusals;
mod rest;
mod scopes;
mod tagging;
mod timing;
mod tokens;
mod waiting;
mod wire;
