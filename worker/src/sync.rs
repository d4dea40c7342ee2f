//! Mutexes of which nobody is poisoned: what they hold is whole between any two statements, so a panic of one holder is no reason for
//! others to stop.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value, whatever became of who held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
