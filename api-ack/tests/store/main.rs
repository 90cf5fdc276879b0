//! The contract of the store: every test body is written once against the traits and runs on both databases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Runs each test body on a fresh database of either kind, and again on one whose schema has grown beyond what this binary knows.
macro_rules! contract {
    ($($body:ident),* $(,)?) => {
        contract!(@on postgres, crate::ground::Ground::postgres().await; $($body),*);
        contract!(@on sqlite, crate::ground::Ground::sqlite().await; $($body),*);
        contract!(@on postgres_grown, crate::ground::Ground::postgres().await.grown().await; $($body),*);
        contract!(@on sqlite_grown, crate::ground::Ground::sqlite().await.grown().await; $($body),*);
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

mod accepting;
mod calling_back;
mod changing;
mod dead;
mod destinations;
mod everything;
mod following;
mod formats;
mod golden;
mod ground;
mod keeping;
mod letters;
mod looks;
mod on_postgres;
mod on_sqlite;
mod pages;
mod pausing;
mod priority;
mod processes;
mod progressing;
mod schema;
mod searching;
mod secrets;
mod selections;
mod server;
mod tagging;
mod waiting;
mod watching;
