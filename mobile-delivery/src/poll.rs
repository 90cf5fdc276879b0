//! `GET /v1/device/messages` and `POST /v1/device/acks`: the same messages for what cannot hold a socket; and the acks of streams.
//!
//! ```text
//! GET --> the device's poll session, claimed with the first poll --> rows after the last given --> leased for 60 s
//!           nothing there: wait for a word of who sent, in this process; or a look at the store, once a second for all that wait
//! POST --> settled under the fence of whichever session the device has, and that one is told
//! ```
//!
//! Owns leases: what a poll gave is not given again before its lease is over. Refuses to own a lane: a poll reads rows. Nothing is declared for a device that
//! polls, so a fleet that asks once an hour costs the broker nothing, and what is sent to it is never moved twice.
//!
//! Guarantees: as sessions have them; at least once, in order of `seq` but for what is offered again. A newer poll ends the older one with 409. Limits:
//! [`LEASED`] messages are out at one time; leases are this process's, and a poll that comes to another one is given what is not acked at once.

pub(crate) mod acking;
mod asking;
mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use session::{LEASE, LEASED};

use crate::rooms;
use crate::sessions::Sessions;
use crate::store::Number;
use session::PollSession;

/// What devices connect to: the socket, the stream, polls, acks by request, and their groups; and what describes them. They have no fallbacks.
pub fn router(sessions: Sessions) -> (Router, utoipa::openapi::OpenApi) {
    let (router, openapi) = OpenApiRouter::new()
        .routes(routes!(crate::socket::connect))
        .routes(routes!(crate::stream::open))
        .routes(routes!(asking::poll))
        .routes(routes!(acking::ack))
        .routes(routes!(rooms::requests::groups))
        .routes(routes!(rooms::requests::members))
        .routes(routes!(rooms::requests::history, rooms::requests::publish))
        .split_for_parts();
    (router.with_state(sessions), openapi)
}

/// The poll sessions of this process.
#[derive(Default)]
pub(crate) struct Polling(Mutex<HashMap<Number, Arc<PollSession>>>);

impl Polling {
    fn lock(&self) -> MutexGuard<'_, HashMap<Number, Arc<PollSession>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The poll session of a device that has this fence.
    fn get(&self, device: Number, fence: i64) -> Option<Arc<PollSession>> {
        self.lock().get(&device).filter(|session| session.fence() == fence).cloned()
    }

    fn put(&self, device: Number, session: Arc<PollSession>) {
        // What was there is dropped outside.
        let _before = self.lock().insert(device, session);
    }

    /// Ends sessions that nobody has polled for as long as a lease lasts.
    pub(crate) fn end_lapsed(&self) {
        let now = Instant::now();
        let lapsed: Vec<_> = self.lock().extract_if(|_, session| session.is_over(now)).collect();
        drop(lapsed);
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }
}
