//! Integration tests of `headwater`: one binary.
