//! Integration tests of `live`: one binary.
