//! Integration tests of `protocols`: one binary.

mod rtmp;
