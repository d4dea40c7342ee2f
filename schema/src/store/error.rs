//! Errors of the store. The worker decides on them: a fence is resolved by claiming again, anything else by asking the
//! database what it has and trying again. Texts never hold a URL, a password or row values.

use thiserror::Error;

/// What went wrong with the database.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// No connection could be had: the server is away, or all connections are in use.
    #[error("no database connection: {0}")]
    Unavailable(String),
    /// The database refused or lost a statement. Only the message is kept: details hold row values.
    #[error("database: {0}")]
    Query(#[from] diesel::result::Error),
    /// The schema is not one that this program can work on.
    #[error("{0}")]
    Schema(String),
    /// Rows changed under us in a way that only another writer can explain; trying again resolves it.
    #[error("another writer stored the same rows at the same time")]
    Race,
}

/// Why a batch is not known to be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Somebody else moved or claimed the partition: position or epoch are not the expected ones. Nothing was written.
    #[error("fenced: the partition's position or epoch is no longer ours")]
    Fenced,
    /// Written or not, nobody knows: ask for the position.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for WriteError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}
