//! What the store decides, as functions of what it has read: pure, and the same on both databases.
//!
//! Owns who makes way in a full backlog, what collapses, which temperature follows which, and what showing a credential means.
//! Refuses to own reading and writing.

mod backlog;
mod credential;
mod place;
mod temperature;

pub use backlog::{LOADED_BYTES, LOADED_MESSAGES, collapsed, load, overflow};
pub use credential::{Kept, Refresh, Spent, refresh};
pub use place::place;
pub use temperature::{Turn, turn};
