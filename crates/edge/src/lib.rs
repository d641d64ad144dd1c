//! The delivery plane: it knows HTTP objects and no media.
