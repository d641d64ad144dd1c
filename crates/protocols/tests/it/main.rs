//! Integration tests of `protocols`: one binary.
