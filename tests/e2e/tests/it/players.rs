//! Real players in a real browser.

use std::time::Duration;

use e2e::{Encoder, Platform, eventually, play};

const SOON: Duration = Duration::from_secs(15);
/// Long enough for several segments, and for the stall that a wrong live edge brings.
const SECONDS: u32 = 20;

/// One browser at a time: two cores are just enough for one, its encoder and the platform.
#[test]
fn players_play_without_a_stall_or_an_error() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let _encoder = Encoder::bars(&platform.publish_url("encoder/colorbar"), "640x360", 30, 30);
    // A player that joins in a stream's first moments may find its first group of pictures cut in two; that it plays all the same is
    // `life::the_first_playlist_comes_before_the_first_segment_ends`.
    eventually("whole groups of pictures", SOON, || {
        let text = platform.get("/encoder/colorbar/v0/index.m3u8").text();
        (text.contains("#EXT-X-INDEPENDENT-SEGMENTS") && text.matches("#EXTINF").count() >= 3).then_some(())
    });
    for engine in ["hlsjs", "shaka-hls", "dashjs", "app"] {
        let played = play(&platform, engine, "encoder/colorbar", SECONDS, &[]);
        played.expect_smooth(&platform);
        assert_eq!((played.number("width"), played.number("height")), (640.0, 360.0), "{engine}");
    }
}
