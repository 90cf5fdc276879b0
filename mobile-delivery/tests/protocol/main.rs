//! The frames: the test vectors that clients in other languages read too, and properties over any bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod properties;
mod vectors;
