//! Warren.
fn main() {}
