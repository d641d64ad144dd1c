//! A film from a file to a screen: by the command line, and by the browser.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use e2e::{Encoder, Platform, binary, decode, eventually, packets, upload_in_browser};

/// Preparing a clip of seconds, on a machine that does other things as well.
const PREPARED: Duration = Duration::from_secs(120);

/// 6 s with B-frames and sound, in a container that no player takes.
fn film(folder: &Path, name: &str) -> String {
    let path = folder.join(name).to_string_lossy().into_owned();
    let (made, complaints) = Encoder::run(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=640x360:rate=25,format=yuv420p",
        "-f",
        "lavfi",
        "-i",
        "sine=sample_rate=48000",
        "-t",
        "6",
        "-c:v",
        "mpeg4",
        "-q:v",
        "3",
        "-g",
        "50",
        "-c:a",
        "mp2",
        "-y",
        &path,
    ])
    .wait(PREPARED);
    assert!(made, "no film: {complaints}");
    path
}

fn headwater(platform: &Platform, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    // No state of the user's; no settings of the folder's.
    command.args(words).args(["--server", &platform.url("")]).env("HOME", "/nonexistent").env_remove("XDG_STATE_HOME");
    command.output().expect("the platform is built")
}

/// What a command printed, which must have succeeded.
fn said(platform: &Platform, words: &[&str]) -> String {
    let output = headwater(platform, words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{words:?}: {}{}\n{}", text(&output.stdout), text(&output.stderr), platform.log());
    text(&output.stdout)
}

#[test]
fn a_film_goes_from_the_command_line_to_a_player() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::serve(&[]);
    let file = film(folder.path(), "a film.avi");

    let page = said(&platform, &["assets", "upload", &file, "--title", "Test film", "--watch"]);
    let asset = page.trim().rsplit('/').next().unwrap().to_owned();
    assert!(asset.starts_with("ast_"), "{page}");
    assert!(said(&platform, &["assets", "list"]).contains("Test film"));

    for path in [format!("/vod/{asset}/index.m3u8"), format!("/vod/{asset}/manifest.mpd"), format!("/vod/{asset}.mp4")]
    {
        let url = platform.url(&path);
        assert_eq!(decode(&url, 6, &[]), "", "{path}\n{}", platform.log());
        let pictures = packets(&url, 10, &[]).iter().filter(|packet| packet.kind == "video").count();
        assert!(pictures >= 150, "{path}: {pictures} pictures");
    }
    let head = platform.get(&format!("/vod/{asset}.mp4"));
    assert_eq!(&head.body[4..8], b"ftyp", "a classic MP4");
    assert_eq!(platform.get(&format!("/vod/{asset}/poster.jpg")).status, 200);
    assert!(platform.get(&format!("/vod/{asset}/storyboard.vtt")).text().contains("#xywh="));

    said(&platform, &["assets", "delete", &asset]);
    eventually("the film is gone from the edge, too", Duration::from_secs(30), || {
        (platform.get(&format!("/vod/{asset}/index.m3u8")).status == 404).then_some(())
    });
}

#[test]
fn a_file_that_is_no_film_is_refused_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::serve(&[]);
    let file = folder.path().join("notes.mp4");
    std::fs::write(&file, "these are only notes\n".repeat(1_000)).unwrap();

    let output = headwater(&platform, &["assets", "upload", &file.to_string_lossy(), "--watch"]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{complaint}");
    assert!(complaint.contains("the job failed"), "{complaint}\n{}", platform.log());
}

#[test]
fn a_film_goes_from_the_browser_to_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::serve(&[]);
    let file = film(folder.path(), "holiday.avi");

    let report = upload_in_browser(&platform, &file, &[]);
    assert_eq!(report["error"].as_str(), None, "{report:#}\n{}", platform.log());
    assert_eq!(report["complaints"].as_array().map(Vec::len), Some(0), "{report:#}");
    assert!(report["duration"].as_f64().is_some_and(|seconds| (5.9..6.2).contains(&seconds)), "{report:#}");
    assert!(report["videoHeight"].as_u64().is_some_and(|height| height > 0), "{report:#}");
}
