//! FFmpeg's streams written as transport stream segments, and read by FFmpeg.

use base::{Timescale, time::rescale};
use media::{CodecConfig, Sample, Track, TrackKind, ts};

use crate::mp4_sources::{
    Demuxed, PICTURE, SOUND, TempFile, complaints, demux, fragment_per_frame, fragment_per_keyframe, has_encoder,
    packets,
};

const H264: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "3", "-pix_fmt", "yuv420p"];
const AAC: &[&str] = &["-c:a", "aac"];

#[test]
fn h264_and_aac() {
    check(&[fragment_per_frame(PICTURE, H264), fragment_per_frame(SOUND, AAC)]);
}

#[test]
fn h264_and_ac3() {
    check(&[fragment_per_frame(PICTURE, H264), fragment_per_keyframe(SOUND, &["-c:a", "ac3"])]);
}

#[test]
fn h264_at_one_frame_a_second() {
    let slow = ["-r", "1", "-c:v", "libx264", "-g", "1", "-pix_fmt", "yuv420p"];
    check(&[fragment_per_frame(PICTURE, &slow), fragment_per_frame(SOUND, AAC)]);
}

#[test]
fn h265_and_aac() {
    let params = "log-level=error:bframes=3:keyint=25:open-gop=0";
    let h265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params];
    if has_encoder("libx265") {
        check(&[fragment_per_frame(PICTURE, &h265), fragment_per_frame(SOUND, AAC)]);
    }
}

#[test]
fn aac_alone() {
    check(&[fragment_per_frame(SOUND, AAC)]);
}

/// Three segments, cut at keyframes and written apart from one another, are one stream when they stand behind one another.
fn check(sources: &[Vec<u8>]) {
    let tracks: Vec<Demuxed> = sources.iter().flat_map(|source| demux(source, 65_536)).collect();
    let of = |kind| tracks.iter().find(|t| t.track.kind() == kind).map(|t| (&t.track, t.samples()));
    let (video, audio) = (of(TrackKind::Video), of(TrackKind::Audio));
    let segments: Vec<_> = (0..3)
        .map(|second| {
            let video = video.as_ref().map(|(track, samples)| (*track, second_of(track, samples, second)));
            let audio = audio.as_ref().map(|(track, samples)| (*track, second_of(track, samples, second)));
            ts::segment(video, audio, &ts::Options::default()).unwrap()
        })
        .collect();
    let parts: Vec<&[u8]> = segments.iter().map(|s| &s[..]).collect();
    let file = TempFile::new("ts", &parts);
    assert_eq!(complaints("warning", &file), "");
    let debug = complaints("debug", &file).to_lowercase();
    for bad in ["continuity", "corrupt", "discontinuity", "invalid timestamps", "non monoton", "non-monoton"] {
        assert!(!debug.contains(bad), "{bad}: {debug}");
    }
    for track in &tracks {
        check_times(track, &file);
    }
}

/// The second is cut by the keyframes, which are one second apart.
fn second_of<'a>(track: &Track, samples: &'a [Sample], second: usize) -> &'a [Sample] {
    let rate = i64::from(track.timescale.get());
    let cut = |second: usize| match track.kind() {
        _ if second == 0 => 0,
        _ if second == 3 => samples.len(),
        TrackKind::Audio => samples.partition_point(|s| s.dts < second as i64 * rate),
        TrackKind::Video => {
            let keyframes: Vec<_> = (0..samples.len()).filter(|&i| samples[i].sync).collect();
            keyframes[second]
        }
    };
    &samples[cut(second)..cut(second + 1)]
}

fn check_times(track: &Demuxed, file: &TempFile) {
    let video = track.track.kind() == TrackKind::Video;
    let to_90k = |ticks| rescale(ticks, track.track.timescale, Timescale::VIDEO) + ts::CLOCK_OFFSET;
    let seen = packets(file, if video { "v:0" } else { "a:0" });
    let samples = track.samples();
    assert_eq!(seen.len(), samples.len());
    // ffprobe counts frames inside a PES packet by its own arithmetic, which loses up to a tick each.
    let tolerance = if video { 0 } else { 8 };
    for (line, sample) in seen.iter().zip(&samples) {
        let fields: Vec<_> = line.split(',').collect();
        let near = |text: &str, want: i64| text.parse::<i64>().is_ok_and(|seen| (seen - want).abs() <= tolerance);
        assert!(near(fields[0], to_90k(sample.pts())), "pts of {line}, {sample:?}");
        assert!(near(fields[1], to_90k(sample.dts)), "dts of {line}, {sample:?}");
        assert_eq!(fields[3].starts_with('K'), sample.sync, "flags of {line}");
    }
    if let CodecConfig::Aac(_) = &*track.track.codec {
        let bytes: usize = samples.iter().map(|s| s.payload.len() + 7).sum();
        let seen: usize = seen.iter().map(|line| line.split(',').nth(2).unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(seen, bytes);
    }
}
