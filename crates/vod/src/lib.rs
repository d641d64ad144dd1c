//! The on-demand plane.
