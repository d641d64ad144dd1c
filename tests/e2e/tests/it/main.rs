//! The platform from outside, with real encoders and real players. One stream name per test; every test has its own platform.

mod formats;
mod hostile;
mod life;
mod players;
mod rtmp;
mod vod;
