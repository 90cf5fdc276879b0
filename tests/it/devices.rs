//! Mobile delivery on a real broker.

mod fleet;
mod lanes;
mod ledger;
mod matrix;
mod relay;
mod rough;
mod served;
mod sessions;
mod withdrawn;
