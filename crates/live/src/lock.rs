//! Locks that a panic elsewhere does not take down.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, also when a thread panicked with it: one stream's data may then be a frame short, and nothing else is lost.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
