//! The runtime on which everything shared between tests lives.

use std::future::Future;
use std::sync::LazyLock;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("harness")
        .enable_all()
        .build()
        .expect("the harness could not start its runtime")
});

/// Runs work on the harness's runtime and waits for it; a panic in it goes on in the caller.
pub(crate) async fn run<F>(work: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match RUNTIME.spawn(work).await {
        Ok(output) => output,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => panic!("the harness's runtime gave up a task: {error}"),
    }
}

/// Starts work on the harness's runtime and does not wait for it.
pub(crate) fn start<F>(work: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    drop(RUNTIME.spawn(work));
}
