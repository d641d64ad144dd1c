//! Integration tests of `testkit`: one binary.
