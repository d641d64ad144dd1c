//! Integration tests of `packager`: one binary.

mod golden;
mod lint;
mod random;
mod runs;
mod source;
