//! Errors of the store. The worker decides on them: a fence is resolved by claiming again, anything else by asking the
//! database what it has and trying again. Texts never hold a URL, a password or row values.

use diesel::result::{DatabaseErrorKind as Kind, Error};
use thiserror::Error;

use super::halt::Halt;

/// What went wrong with the database.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// No connection could be had: the server is away.
    #[error("no database connection: {0}")]
    Unavailable(String),
    /// All connections of the pool were in use for as long as a caller may wait.
    #[error("every database connection is in use")]
    Saturated,
    /// The database refused or lost a statement. Only the message is kept: details hold row values.
    #[error("database: {0}")]
    Query(#[from] diesel::result::Error),
    /// The schema is not one that this program can work on.
    #[error("{0}")]
    Schema(String),
    /// Fewer rows were stored than were new: another writer was faster, or a trigger of this database drops them.
    #[error("rows that were not stored before could not be stored either: another writer, or a trigger")]
    Race,
    /// A defect of ours, on this batch.
    #[error("the transaction panicked: {0}")]
    Panicked(String),
    /// What an operator asked for does not fit what is stored.
    #[error("{0}")]
    Rejected(String),
}

/// What an error says about where the trouble is. diesel hides most SQLSTATEs, so this is a first guess; behaviour decides
/// (`isolate.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The way to the database, or the database itself. No record is ever blamed for it.
    Environment,
    /// The database answered and refused. It may be the data, or a lock, a timeout, a full disk.
    Refusal,
    /// Nothing was tried: everybody was busy.
    Contention,
}

impl StoreError {
    /// Where the trouble is.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Query(Error::DatabaseError(kind, _)) => match kind {
                Kind::SerializationFailure | Kind::ReadOnlyTransaction => Trouble::Environment,
                Kind::UnableToSendCommand | Kind::ClosedConnection => Trouble::Environment,
                _ => Trouble::Refusal,
            },
            // A value that the client cannot encode, or a row that came back as it should not.
            Self::Query(
                Error::SerializationError(_)
                | Error::QueryBuilderError(_)
                | Error::DeserializationError(_)
                | Error::NotFound,
            ) => Trouble::Refusal,
            Self::Panicked(_) | Self::Rejected(_) => Trouble::Refusal,
            // Once it was another writer; again and again it is a trigger that drops rows.
            Self::Race => Trouble::Refusal,
            Self::Query(_) | Self::Unavailable(_) | Self::Config(_) | Self::Schema(_) => Trouble::Environment,
            Self::Saturated => Trouble::Contention,
        }
    }
}

/// Why a batch is not known to be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Somebody else moved or claimed the partition: position or epoch are not the expected ones. Nothing was written.
    #[error("fenced: the partition's position or epoch is no longer ours")]
    Fenced,
    /// The batch would go over the dead-letter budget. Nothing was written, and the partition is marked as halted.
    #[error("halted: {0}")]
    Halted(Halt),
    /// Written or not, nobody knows: ask for the position.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for WriteError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}
