//! Integration tests of `packager`: one binary.
