//! `Undo`: how the body of a transaction ends it without its changes and still answers something: a dry run. Used by `merge.rs`,
//! `redrive.rs` and `settle.rs`.

use super::error::{StoreError, WriteError};

/// Why a transaction is taken back.
pub(super) enum Undo<T> {
    /// Nothing is wrong: this is the answer, and nothing is to be changed.
    Answer(T),
    /// It failed.
    Failed(StoreError),
}

impl<T> From<diesel::result::Error> for Undo<T> {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl<T> From<StoreError> for Undo<T> {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl<T> From<WriteError> for Undo<T> {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => Self::Failed(error),
            // Neither can come of writing rows alone: there is no position to compare and no budget to go over.
            WriteError::Fenced | WriteError::Halted(_) => Self::Failed(StoreError::Race),
        }
    }
}

/// What the transaction came to, committed or taken back.
pub(super) fn outcome<T>(ended: Result<T, Undo<T>>) -> Result<T, StoreError> {
    match ended {
        Ok(answer) | Err(Undo::Answer(answer)) => Ok(answer),
        Err(Undo::Failed(error)) => Err(error),
    }
}
