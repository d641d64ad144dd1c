//! Publishers come and go, encoders die, the server stops.

use std::{path::Path, process::Command, time::Duration};

use e2e::{Encoder, Platform, eventually};

const SOON: Duration = Duration::from_secs(15);

fn playlist(platform: &Platform, path: &str) -> String {
    let answer = platform.get(path);
    if answer.status == 200 { answer.text() } else { String::new() }
}

#[test]
fn the_first_playlist_comes_before_the_first_segment_ends() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let _encoder = Encoder::bars(&platform.publish_url("live/first"), "640x360", 30, 60);
    let text = platform.get_text("/live/first/v0/index.m3u8", SOON);
    assert!(text.contains("#EXT-X-PART:"), "{text}");
    assert!(!text.contains("#EXTINF"), "the first playlist waited for a whole segment: {text}");
    // Players that know no parts need a segment; the first one does not wait for the GOP of 2 s.
    let text = eventually("a segment", Duration::from_secs(1), || {
        Some(playlist(&platform, "/live/first/v0/index.m3u8")).filter(|text| text.contains("#EXTINF"))
    });
    assert!(text.contains("#EXTINF:0.4"), "{text}");
    eventually("a segment of sound", Duration::from_secs(1), || {
        playlist(&platform, "/live/first/a0/index.m3u8").contains("#EXTINF").then_some(())
    });
    assert_eq!(e2e::decode(&platform.url("/live/first/index.m3u8"), 3, &[]), "", "{}", platform.log());
}

#[test]
fn unpublish_ends_the_playlist_and_republish_is_one_discontinuity() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let path = "/live/again/v0/index.m3u8";
    let mut encoder = Encoder::bars(&platform.publish_url("live/again"), "320x180", 30, 30);
    eventually("a segment", SOON, || playlist(&platform, path).contains("#EXTINF").then_some(()));
    encoder.stop();
    eventually("ENDLIST within 2 s", Duration::from_millis(2_500), || {
        playlist(&platform, path).contains("#EXT-X-ENDLIST").then_some(())
    });
    let ended = playlist(&platform, path);
    assert!(!ended.contains("PRELOAD-HINT"), "{ended}");
    assert_eq!(ended.matches("#EXT-X-DISCONTINUITY\n").count(), 0, "{ended}");

    let _encoder = Encoder::bars(&platform.publish_url("live/again"), "320x180", 30, 30);
    let text = eventually("segments behind the discontinuity", SOON, || {
        let text = playlist(&platform, path);
        text.split("#EXT-X-DISCONTINUITY\n").nth(1).is_some_and(|new| new.contains("#EXTINF")).then_some(text)
    });
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
    assert!(!text.contains("#EXT-X-ENDLIST"), "{text}");
}

#[test]
fn a_killed_ladder_comes_back_behind_one_discontinuity() {
    let platform = Platform::serve(&["--set", "transcode.preset=nott", "--set", "transcode.cpu_percent_max=400"]);
    let _encoder = Encoder::bars(&platform.publish_url("live/hurt"), "854x480", 30, 30);
    let path = "/live/hurt/v1/index.m3u8";
    eventually("a segment of the first rendition", Duration::from_secs(30), || {
        playlist(&platform, path).contains("#EXTINF").then_some(())
    });
    let ffmpeg = *ffmpegs(&platform).first().expect("the ladder's child");
    Command::new("kill").args(["-KILL", &ffmpeg.to_string()]).status().expect("kill runs");
    let text = eventually("two segments behind the discontinuity", SOON, || {
        let text = playlist(&platform, path);
        text.split("#EXT-X-DISCONTINUITY\n")
            .nth(1)
            .is_some_and(|new| new.matches("#EXTINF").count() >= 2)
            .then_some(text)
    });
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}\n{}", platform.log());
    let source = playlist(&platform, "/live/hurt/v0/index.m3u8");
    assert_eq!(source.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "the same on every track: {source}");
}

/// The FFmpeg processes under the platform.
fn ffmpegs(platform: &Platform) -> Vec<u32> {
    let is_ffmpeg =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "ffmpeg");
    platform.children().into_iter().filter(is_ffmpeg).collect()
}

#[test]
fn no_child_outlives_the_server() {
    let platform = Platform::demo(&[]);
    let children = eventually("the demo's encoder and its ladder", Duration::from_secs(30), || {
        let children = ffmpegs(&platform);
        (!children.is_empty() && platform.get("/channels.json").text().contains("\"live\":true")).then_some(children)
    });
    platform.signal("KILL");
    eventually("the children are gone", SOON, || {
        children.iter().all(|pid| !Path::new(&format!("/proc/{pid}/stat")).exists() || is_zombie(*pid)).then_some(())
    });
}

fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[test]
fn sigterm_drains_and_ends() {
    let mut platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let mut encoder = Encoder::bars(&platform.publish_url("live/stop"), "320x180", 30, 30);
    platform.get_text("/live/stop/index.m3u8", SOON);
    platform.signal("TERM");
    let status = platform.wait();
    assert!(status.success(), "{status}\n{}", platform.log());
    eventually("the encoder notices", SOON, || (!encoder.is_running()).then_some(()));
}

#[test]
fn without_ffmpeg_everything_but_the_ladder_works() {
    let platform = Platform::serve(&["--set", "transcode.ffmpeg=/nonexistent/ffmpeg"]);
    let _encoder = Encoder::bars(&platform.publish_url("live/plain"), "320x180", 30, 30);
    platform.get_text("/live/plain/v0/index.m3u8", SOON);
    let guide = platform.get("/channels.json").text();
    assert!(guide.contains("no smaller renditions"), "{guide}");
}

#[test]
fn the_guide_tells_of_a_new_channel_at_once() {
    let platform = Platform::serve(&["--set", "transcode.preset=off"]);
    let guide = platform.get("/channels.json").text();
    let version: u64 = guide
        .split("\"version\":")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .and_then(|text| text.parse().ok())
        .expect("a version");
    let news = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| platform.get(&format!("/channels.json?after={version}")).text());
        let _encoder = Encoder::bars(&platform.publish_url("live/new"), "320x180", 30, 30);
        waiting.join().expect("no panic")
    });
    assert!(news.contains("live/new"), "{news}");
}
