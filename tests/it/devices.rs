//! Mobile delivery on a real broker.

mod fleet;
mod lanes;
mod ledger;
mod matrix;
mod operated;
mod relay;
mod rough;
mod served;
mod sessions;
mod withdrawn;
