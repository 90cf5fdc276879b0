//! The test harness: real servers, real processes, real faults.
//!
//! Nothing in here imitates RabbitMQ, PostgreSQL or the hub. Each is started as its own process on
//! free ports in a folder of its own, and ends with the test process however that ends.
//!
//! | module | gives |
//! |---|---|
//! | [`broker`] | a private RabbitMQ node or cluster, one vhost per test, broker faults |
//! | [`network`] | hosts on a network of their own, whose cables can be pulled |
//! | [`postgres`] | a private PostgreSQL, one database per test, database faults |
//! | [`proxy`] | a TCP proxy that delays, swallows, resets, refuses and cuts |
//! | [`hub`] | the real `warren` binary as a process, with a client for it |
//! | [`dev`] | `warren dev` as a process, with its banner and its broker |
//! | [`collector`] | a collector of spans that decodes and remembers them |
//! | [`downstream`] | a slow service that answers, fails, throttles and hangs |
//! | [`process`] | any other program: `shop`, or a worker in another language |
//! | [`ledger`] | what was accepted against what was done |
//! | [`wait`] | await a condition with a deadline; the only way to synchronise |
//!
//! A server that is not installed fails the test with a sentence that says what to install. No test
//! is ever skipped.
//!
//! The shared servers live on a runtime of the harness (each `#[tokio::test]` has its own, and
//! sockets die with the runtime that opened them), so one node serves tests of many runtimes.

// Everything here runs in tests only: a harness fails by panicking with a sentence, and it is told
// by the environment where other versions of the servers are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

pub mod broker;
pub mod collector;
pub mod dev;
pub mod downstream;
pub mod hub;
pub mod ledger;
pub mod network;
mod percent;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
mod reaper;
mod runtime;
pub mod wait;

pub use ports::free_port;
