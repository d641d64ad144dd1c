//! Integration tests of `transcode`: one binary.
