//! Sessions at work: devices on real sockets and polls, processes each on a runtime of its own that can be killed, a real broker and a real
//! database between them.

mod drain;
mod drops;
mod flow;
mod ground;
mod newest;
mod polling;
mod rough;
mod slow;
pub(super) mod socket;
pub(crate) mod stream;
mod streaming;

use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
