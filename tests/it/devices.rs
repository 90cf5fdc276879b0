//! Mobile delivery on a real broker.

mod lanes;
mod operated;
mod relay;
mod served;
mod sessions;
