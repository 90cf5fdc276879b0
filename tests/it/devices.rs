//! Mobile delivery on a real broker.

mod lanes;
mod relay;
pub(crate) mod served;
mod sessions;
