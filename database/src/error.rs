//! Why a database did not do what was asked.

/// Why the store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refuses this data; asking again with the same gives the same. With several rows, at least one is bad.
    #[error("the database refuses the data: {0}")]
    Refused(String),
    /// A row or key is locked by somebody who is still undecided (2 s).
    #[error("another transaction holds the same key: {0}")]
    Undecided(String),
    /// The database is away, overloaded, or full. Whether the write happened is unknown.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The schema is newer or older than this binary can use, or the file is held by another process.
    #[error("{0}")]
    Unusable(String),
}

/// What is stored is not what the schema says.
pub fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Unusable(format!("the database holds what Warren never wrote: {what}"))
}
