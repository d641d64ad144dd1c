//! Integration tests of `headwater`: one binary.

mod binary;
mod generated;
mod ops;
mod serve;
