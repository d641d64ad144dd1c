//! Integration tests of `media`: one binary.
