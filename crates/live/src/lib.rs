//! The live plane.
