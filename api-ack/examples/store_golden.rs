//! Writes `tests/golden/store-v<format>.sqlite`. Only for a format that is not released yet: see `tests/store/golden.rs`.

#[path = "../tests/store/golden.rs"]
mod golden;

use std::path::Path;

use api_ack::store::{SqliteStore, StoreError};

#[tokio::main]
async fn main() -> Result<(), StoreError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-v1.sqlite");
    if file.exists() {
        return Err(StoreError::Unusable(format!("{} is there already: a released format is never rewritten", file.display())));
    }
    let store = SqliteStore::open(&file, true).await?;
    golden::fill(&store, &store).await?;
    store.close().await;
    drop(store);
    std::fs::remove_file(file.with_extension("sqlite.lock")).map_err(|error| StoreError::Unavailable(error.to_string()))
}
