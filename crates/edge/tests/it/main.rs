//! Integration tests of `edge`: one binary.
