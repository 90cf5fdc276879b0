//! Integration tests, all in one binary so that they share one broker and one PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod bad_input;
mod broker_faults;
mod calling_back;
mod changing;
mod cluster;
mod compose;
mod conformance;
mod crash;
mod cron;
mod declared;
mod definitions;
mod doctor;
mod documents;
mod edge;
mod estimates;
mod existing;
mod flow;
mod harness;
mod http_worker;
mod layers;
mod letters;
mod long;
mod memory;
mod migration;
mod newcomer;
mod openapi;
mod permissions;
mod pictures;
mod poison;
mod pressure;
mod priority;
mod publisher;
mod reading;
mod reload;
mod retry_crash;
mod service;
mod store_faults;
mod submissions;
mod tls;
mod topology;
mod tracing;
mod two_hubs;
mod workers;
mod world;
