//! Integration tests, all in one binary so that they share one broker and one PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod crash;
mod flow;
mod harness;
mod layers;
mod newcomer;
mod service;
mod world;
