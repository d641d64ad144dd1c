//! Integration tests of `store`: one binary.
