//! A session, driven: cases worth a name, and lives of a device over a store and a queue in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod device;
mod lane;
mod lives;
mod log;
mod server;
mod store;
mod world;
