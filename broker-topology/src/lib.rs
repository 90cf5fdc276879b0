//! The names and the shape of what Warren declares on a broker. No I/O.

mod names;

pub use names::{Kind, KindError, MAX_NAME, Names, Rung};
