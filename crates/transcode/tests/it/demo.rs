//! The colour-bar channel.

use media::TrackKind;
use transcode::{Capabilities, Config, DemoSource, Feed};

use crate::support::{DEADLINE, capabilities};

#[tokio::test(flavor = "multi_thread")]
async fn the_channel_has_pictures_sound_and_a_keyframe_each_second() {
    let mut source = DemoSource::start(&capabilities().await, &Config::default()).unwrap();
    let (mut size, mut sound, mut pictures, mut keyframes) = (None, 0, 0, Vec::new());
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while keyframes.len() < 2 {
        let unit = tokio::time::timeout_at(deadline, source.next()).await.expect("the channel is on air").unwrap();
        match unit {
            Feed::Track(track) => size = size.or(track.codec.video().map(|info| (info.width, info.height))),
            Feed::Sample(TrackKind::Audio, _) => sound += 1,
            Feed::Sample(TrackKind::Video, sample) => {
                pictures += 1;
                keyframes.extend(sample.sync.then_some(sample.pts()));
            }
            Feed::KeyframeStart => panic!("the channel was interrupted"),
        }
    }
    assert_eq!(size, Some((1280, 720)));
    assert_eq!((keyframes[1] - keyframes[0], pictures), (90_000, 61));
    assert!(sound > 30, "{sound}");
}

#[tokio::test]
async fn without_ffmpeg_there_is_no_channel() {
    assert!(DemoSource::start(&Capabilities::absent("none here"), &Config::default()).is_err());
}
