//! Mobile delivery on a real broker.

mod lanes;
mod relay;
mod served;
mod sessions;
