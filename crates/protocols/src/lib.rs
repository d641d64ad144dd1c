//! Sans-IO protocol sessions.
