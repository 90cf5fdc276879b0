//! Mobile delivery: every device has a durable queue of its own, and finds its messages when it comes back.
//!
//! ```text
//! send -> row (with the device's next seq), then 202
//!           -> relay -> queue of the device -> session -> socket -> ack of the device -> the row ends, receipt
//!                    -> returned: the device is cold, and its rows wait in the store until it comes
//! ```
//!
//! The row is the truth, the queue of the device is its fast lane: a row ends by an ack of the device, by expiry or by a drop that is
//! told, and never by a confirm of the broker. A session reads its device's rows when it begins and whenever the lane shows that
//! one is missing, so that what happens to a lane costs an id twice at worst.
//!
//! Owns devices, their messages, sessions over every transport, receipts. Refuses to own what stands before an endpoint (`door`),
//! connections of databases (`database`) and of brokers (`messaging`). Never meets `api-ack` but through a queue.

pub mod broker_auth;
pub mod follow;
pub mod http;
pub mod lane;
pub mod lane_message;
pub mod operating;
pub mod poll;
pub mod processes;
pub mod protocol;
pub mod receipts;
pub mod relay;
pub mod rooms;
pub mod rules;
pub mod sending;
pub mod session;
pub mod sessions;
pub mod shards;
pub mod socket;
pub mod store;
pub mod stream;
pub mod submissions;
pub mod tokens;
pub mod upkeep;

use broker_topology::{Names, TierLimits, Topology};
/// What mobile delivery needs on the broker: the exchanges that lead to devices, where their dropped messages go, and a policy with the
/// limits of each tier. A hub that serves devices merges it.
pub fn topology(names: &Names, limits: &TierLimits) -> Topology {
    broker_topology::devices(names, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_beside_the_core_of_the_hub_and_nothing_is_wrong_with_it() {
        for names in [Names::default(), Names::new("acme.")] {
            let merged =
                Topology::merge([broker_topology::core(&names), topology(&names, &TierLimits::default())]).unwrap_or_default();
            assert_eq!(merged.lint(), []);
            assert!(merged.exchanges.iter().any(|exchange| exchange.name == names.devices()));
        }
    }
}
