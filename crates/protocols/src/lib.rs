//! Sans-IO protocol sessions.

pub mod rtmp;
