//! The only room that knows FFmpeg.
