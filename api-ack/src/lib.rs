//! Critical REST endpoints: accept, store, relay, and the one truth about every job.
//!
//! The flow in one sitting: [`accept`] validates and hands a job to the [`accept::Writer`], which commits it with its
//! neighbours ([`store`]); the 202 goes out; the [`relay`] publishes it; a consumer asks the [`ledger`] to begin and to finish
//! it; what a start or an end does to a job is decided in [`rules`] alone; the [`sweeper`] and the [`keeper`] pick up what fell;
//! whoever asked for it is told of a job's end ([`callbacks`]);
//! people deal with what died, one by one ([`dead`]) or many at once ([`selections`]), grouped by [`fingerprint`].

pub mod accept;
pub mod callbacks;
pub mod changing;
pub mod completions;
pub mod cron;
pub mod dead;
mod decide;
pub mod destinations;
pub mod estimates;
pub mod feed;
pub mod fingerprint;
pub mod http;
pub mod keeper;
pub mod kinds;
pub mod ledger;
mod letter;
pub mod metrics;
pub mod pauses;
pub mod processes;
pub mod progress;
pub mod relay;
pub mod results;
pub mod rules;
pub mod run_token;
pub mod schema;
pub mod selections;
pub mod store;
pub mod submissions;
pub mod sweeper;
pub mod tags;
pub mod watch;
