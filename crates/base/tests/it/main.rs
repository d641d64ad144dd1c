//! Integration tests of `base`: one binary.
