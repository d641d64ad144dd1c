//! RTMP, against itself, against real programs, and against peers that mean harm.

mod captures;
mod commands;
mod ffmpeg;
mod hostile;
mod pair;
mod peer;
