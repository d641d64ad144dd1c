//! What the end-to-end tests are made of: the platform as a process, FFmpeg as publisher and judge, players in Chromium.
//!
//! It deliberately links nothing of the platform: what it knows, it learned from outside. Start from [`Platform`].

mod clock;
mod ffmpeg;
mod http;
mod platform;
mod players;

pub use clock::{CLOCK_CELLS, clock_age, clock_filter, clock_strip_filter};
pub use ffmpeg::{Encoder, Packet, decode, keyframe_times, make_clip, packets, picture_sums, shift};
pub use http::{Answer, get, raw};
pub use platform::{Platform, binary};
pub use players::{Played, play, upload_in_browser};

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Asks `probe` until it answers, or fails with `what` after `deadline`.
///
/// # Panics
/// When the deadline passes: the test has failed.
pub fn eventually<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(begin.elapsed() < deadline, "{what}: not within {deadline:?}");
        sleep(Duration::from_millis(20));
    }
}
