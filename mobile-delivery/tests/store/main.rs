//! The contract of the tables of devices: every test body is written once against the traits and runs on both databases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Runs each test body on a fresh database of either kind.
macro_rules! contract {
    ($($body:ident),* $(,)?) => {
        contract!(@on postgres, crate::ground::Ground::postgres().await; $($body),*);
        contract!(@on sqlite, crate::ground::Ground::sqlite().await; $($body),*);
    };
    (@on $place:ident, $ground:expr; $($body:ident),*) => {
        mod $place {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $body() {
                super::$body(&$ground).await;
            })*
        }
    };
}

mod credentials;
mod emptying;
mod ground;
mod groups;
mod lanes;
mod log;
#[path = "../../../api-ack/tests/store/looks.rs"]
mod looks;
mod pages;
mod races;
mod ranking;
mod registering;
mod relaying;
mod sending;
#[path = "../../../api-ack/tests/store/server.rs"]
mod server;
mod sessions;
mod settling;
mod shards;
mod time;
