//! The relay, its upkeep and receipts: several processes in one, each on a runtime of its own that can be killed, and phones that follow the rules
//! of a session (ADR 43) and nothing more.

mod cooling;
mod ground;
mod order;
mod phone;
mod shards;
mod slots;
mod time;
mod told;

use std::time::Duration;

/// For a machine that does much else.
const SOON: Duration = Duration::from_secs(90);
