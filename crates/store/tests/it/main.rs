//! The contracts of the store, on every backend.

#[macro_use]
mod both;
mod access;
mod assets;
mod engine;
mod jobs;
mod model;
mod objects;
mod outbox;
mod published;
mod rows;
mod uploads;
