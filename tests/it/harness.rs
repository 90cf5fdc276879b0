//! The harness proves itself first: a fault that does not happen would make every other test pass.

mod broker;
mod postgres;
mod process;
mod proxy;
