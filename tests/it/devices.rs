//! Mobile delivery on a real broker.

mod broker;
pub(crate) mod fleet;
mod lanes;
mod ledger;
mod matrix;
mod operated;
mod relay;
mod rough;
pub(crate) mod served;
mod sessions;
mod withdrawn;
