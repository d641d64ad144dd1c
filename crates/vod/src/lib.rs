//! The on-demand plane.

pub mod protocol;
