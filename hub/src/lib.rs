//! The hub: roles, configuration, command line, admin API. A library, so that a team's own binary can be a hub with handlers.
//!
//! ```no_run
//! # async fn example(config: warren_hub::config::Config) -> Result<(), warren_hub::hub::HubError> {
//! let hub = warren_hub::hub::Hub::new(config).handler("demo.echo", warren_hub::demo::Echo);
//! let running = hub.start().await?;
//! running.drain().await;
//! # Ok(()) }
//! ```

pub mod admin;
mod asyncapi;
pub mod auth;
mod callbacks;
pub mod cli;
pub mod config;
mod conformance;
pub mod demo;
pub mod dev;
mod doctor;
mod edge;
pub mod health;
mod http_worker;
pub mod hub;
mod listeners;
mod management;
pub mod telemetry;
mod topology;
