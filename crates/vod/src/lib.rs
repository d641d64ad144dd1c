//! The on-demand plane.

pub mod protocol;
pub mod recipe;
