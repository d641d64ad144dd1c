//! The contracts of the store, on every backend.

#[macro_use]
mod both;
mod engine;
mod jobs;
mod objects;
