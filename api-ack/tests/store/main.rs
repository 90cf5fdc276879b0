//! The contract of the store: every test body is written once against the traits and runs on both databases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Runs each test body on a fresh database of either kind.
macro_rules! contract {
    ($($body:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $body() {
                super::$body(&crate::ground::Ground::postgres().await).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $body() {
                super::$body(&crate::ground::Ground::sqlite().await).await;
            })*
        }
    };
}

mod accepting;
mod changing;
mod dead;
mod destinations;
mod following;
mod formats;
mod golden;
mod ground;
mod keeping;
mod letters;
mod on_postgres;
mod on_sqlite;
mod pausing;
mod processes;
mod progressing;
mod searching;
mod selections;
mod server;
mod tagging;
mod waiting;
mod watching;
