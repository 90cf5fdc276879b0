//! The door of every HTTP endpoint: who asks, how fast they may, what they sent, and what a refusal looks like.
//!
//! Owns tokens ([`auth`], [`scope`]), rates ([`rates`]), bodies and their types ([`body`], [`media`], [`batch`]), what headers say
//! ([`header`], [`timing`]), idempotency keys ([`key`]), what a 202 says ([`accepted`]), the request that is being
//! answered ([`current`]), problem documents and the catalogue of their codes ([`problem`]). Knows nothing of what is behind the
//! door: jobs and devices bring their own words for what can go wrong, and turn them into problems themselves.
//!
//! This crate binds no port, and serves no route but the pages about problems ([`pages`]).

mod accepted;
pub mod auth;
pub mod batch;
pub mod body;
mod code;
pub mod current;
pub mod header;
pub mod key;
pub mod media;
pub mod pages;
pub mod problem;
pub mod rates;
pub mod scope;
pub mod timing;

pub use accepted::accepted;
