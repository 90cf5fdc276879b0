//! Placeholder, being written.

pub mod config;
pub mod dev;
