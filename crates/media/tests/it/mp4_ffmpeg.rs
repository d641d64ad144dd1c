//! FFmpeg's fragmented MP4 read, written again, and read by FFmpeg.

use media::mp4;

use crate::mp4_sources::{
    Demuxed, PICTURE, SOUND, TempFile, chunk_bytes, complaints, demux, fragment_per_frame, fragment_per_keyframe,
    has_encoder, packets,
};

const H264: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "3", "-pix_fmt", "yuv420p"];

#[test]
fn h264_with_b_frames() {
    check(&fragment_per_frame(PICTURE, H264), "v:0");
}

#[test]
fn h265_with_b_frames() {
    let h265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=3:keyint=25"];
    if has_encoder("libx265") {
        check(&fragment_per_frame(PICTURE, &h265), "v:0");
    }
}

#[test]
fn av1() {
    // The sequence header comes with the first frame; until then ffmpeg 5.1 writes an empty av1C.
    let av1 = ["-c:v", "libaom-av1", "-cpu-used", "8", "-g", "25", "-t", "1"];
    check(&fragment_per_keyframe(PICTURE, &av1), "v:0");
}

#[test]
fn vp9() {
    let vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"];
    check(&fragment_per_frame(PICTURE, &vp9), "v:0");
}

#[test]
fn aac() {
    check(&fragment_per_frame(SOUND, &["-c:a", "aac"]), "a:0");
}

#[test]
fn opus() {
    check(&fragment_per_frame(SOUND, &["-c:a", "libopus"]), "a:0");
}

#[test]
fn ac3() {
    check(&fragment_per_keyframe(SOUND, &["-c:a", "ac3"]), "a:0");
}

#[test]
fn eac3() {
    check(&fragment_per_keyframe(SOUND, &["-c:a", "eac3"]), "a:0");
}

#[test]
fn two_tracks_in_one_fragment() {
    let source = fragment_per_keyframe(&[PICTURE, SOUND].concat(), &[H264, &["-c:a", "aac"]].concat());
    let file = TempFile::new("mp4", &[&source]);
    let tracks = demux(&source, 10_000);
    for (track, stream) in tracks.iter().zip(["v:0", "a:0"]) {
        assert_eq!(lines(track), packets(&file, stream));
    }
}

/// The track written anew has the packets it had, and decodes without a word.
fn check(source: &[u8], stream: &str) {
    let source_packets = packets(&TempFile::new("mp4", &[source]), stream);
    let [track] = &demux(source, 1000)[..] else { panic!("one track") };
    assert_eq!(lines(track), source_packets);
    // 12 samples a chunk, as in a part of half a second.
    let file = TempFile::new("mp4", &[&write(track, 12)]);
    assert_eq!(packets(&file, stream), source_packets);
    assert_eq!(complaints("error", &file), "");
}

/// The samples in the words of `ffprobe`.
fn lines(track: &Demuxed) -> Vec<String> {
    let samples = track.samples();
    let flags = |sync| if sync { "K_" } else { "__" };
    samples.iter().map(|s| format!("{},{},{},{}", s.pts(), s.dts, s.payload.len(), flags(s.sync))).collect()
}

fn write(track: &Demuxed, samples_per_chunk: usize) -> Vec<u8> {
    let mut out = mp4::init_segment(&track.track, 1).to_vec();
    for (i, samples) in track.samples().chunks(samples_per_chunk).enumerate() {
        let fragment = mp4::Fragment {
            sequence: i as u32 + 1,
            track_id: 1,
            base_dts: samples[0].dts as u64,
            samples,
            producer_reference: (i == 0).then_some((0xEC80_0000_8000_0000, samples[0].dts as u64)),
            start_of_segment: i % 2 == 0,
        };
        out.extend_from_slice(&chunk_bytes(&fragment));
    }
    out
}
