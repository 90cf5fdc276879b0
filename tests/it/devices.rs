//! Mobile delivery on a real broker.

mod broker;
pub(crate) mod browser;
pub(crate) mod fleet;
mod groups;
mod lanes;
mod ledger;
mod matrix;
mod operated;
mod relay;
mod rooms;
mod rough;
pub(crate) mod served;
pub(crate) mod sessions;
mod shards;
mod streamed;
mod withdrawn;
