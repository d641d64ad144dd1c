//! The contracts of the store, on every backend.

mod objects;
