//! `docker-compose.yml` and what it mounts, where no Docker engine runs: each claim of it is looked at, and the same processes are started
//! natively.

mod broker;
mod devices;
mod file;
mod image;
mod model;
mod natively;
mod nginx;
mod observe;
mod secrets;
