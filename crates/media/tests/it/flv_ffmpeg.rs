//! FLV against FFmpeg: what it writes is read as it reads it, and what we write it plays. The captures in `testdata/flv`
//! are of FFmpeg 9, because the one of Debian 12 writes no Enhanced RTMP.

use bytes::BytesMut;
use media::{
    CodecConfig, Sample, Track, TrackKind,
    codec::hevc,
    flv::{Demuxer, Muxer, Unit},
};

use crate::mp4_sources::{TempFile, complaints, ffmpeg, packets};

/// One track of a stream, with everything that came on it.
struct Stream {
    kind: TrackKind,
    track_id: u8,
    tracks: Vec<Track>,
    samples: Vec<Sample>,
}

/// All tracks of an FLV stream, read in pieces of this size.
fn demux(flv: &[u8], piece_bytes: usize) -> Vec<Stream> {
    let (mut demuxer, mut streams) = (Demuxer::new(), Vec::<Stream>::new());
    for piece in flv.chunks(piece_bytes) {
        demuxer.push(piece);
        while let Some((kind, unit)) = demuxer.next_unit().expect("ffmpeg writes FLV") {
            put(&mut streams, kind, unit);
        }
    }
    assert_eq!(demuxer.orphans(), 0);
    streams
}

fn put(streams: &mut Vec<Stream>, kind: TrackKind, unit: Unit) {
    let at = |streams: &[Stream], id| streams.iter().position(|s| (s.kind, s.track_id) == (kind, id));
    match unit {
        Unit::Track { track_id, track } => match at(streams, track_id) {
            Some(index) => streams[index].tracks.push(track),
            None => streams.push(Stream { kind, track_id, tracks: vec![track], samples: Vec::new() }),
        },
        Unit::Sample { track_id, sample } => {
            let index = at(streams, track_id).expect("the track comes before its samples");
            streams[index].samples.push(sample);
        }
        Unit::End => {}
    }
}

/// Two seconds of a live encoder: H.264 with B-frames, AAC at 44.1 kHz.
fn bars() -> Vec<u8> {
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=30:duration=2",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=44100:duration=2",
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "30",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-f",
        "flv",
        "-",
    ])
}

fn remux(streams: &[Stream]) -> BytesMut {
    let (muxer, mut out) = (Muxer::new(), BytesMut::new());
    muxer.start(&streams.iter().map(|stream| &stream.tracks[0]).collect::<Vec<_>>(), &mut out);
    let mut samples: Vec<_> =
        streams.iter().flat_map(|stream| stream.samples.iter().map(|sample| (&stream.tracks[0], sample))).collect();
    samples.sort_by_key(|(track, sample)| (track.timescale.to_us(sample.dts), track.kind()));
    for (track, sample) in samples {
        muxer.sample(track, sample, &mut out);
    }
    out
}

#[test]
fn h264_with_b_frames_and_aac_is_read_as_ffprobe_reads_it() {
    let flv = bars();
    let source = TempFile::new("flv", &[&flv]);
    for piece_bytes in [7, 1_500, flv.len()] {
        let streams = demux(&flv, piece_bytes);
        let [video, audio] = &streams[..] else { panic!("one video and one audio track") };
        let pictures: Vec<_> = video
            .samples
            .iter()
            .map(|s| {
                format!("{},{},{},{}", s.pts() / 90, s.dts / 90, s.payload.len(), if s.sync { "K_" } else { "__" })
            })
            .collect();
        assert_eq!(pictures, packets(&source, "v:0"));
        assert!(
            video.samples.iter().any(|s| s.cts_offset > 0) && video.samples.iter().any(|s| s.pts() > s.dts + 3_000)
        );

        let sounds = packets(&source, "a:0");
        assert_eq!(audio.samples.len(), sounds.len());
        for (sample, packet) in audio.samples.iter().zip(&sounds) {
            let fields: Vec<i64> = packet.split(',').take(3).map(|field| field.parse().unwrap()).collect();
            let at_ms = audio.tracks[0].timescale.to_ms(sample.dts);
            assert!((at_ms - fields[1]).abs() <= 1, "{packet} is at {at_ms} ms");
            assert_eq!(sample.payload.len() as i64, fields[2]);
        }
        assert!(audio.samples.windows(2).all(|pair| pair[1].dts - pair[0].dts == 1_024), "an exact clock");
    }
}

#[test]
fn what_is_muxed_again_decodes_to_the_same_pictures_and_sound() {
    let flv = bars();
    let source = TempFile::new("flv", &[&flv]);
    let again = TempFile::new("flv", &[&remux(&demux(&flv, 4_096))]);
    assert_eq!(complaints("error", &again), "");
    assert_eq!(packets(&again, "v:0"), packets(&source, "v:0"));
    for (stream, codec) in [("0:v", "rawvideo"), ("0:a", "pcm_s16le")] {
        let decoded = |file: &TempFile| {
            ffmpeg(&["-i", file.path(), "-map", stream, "-c", codec, "-fps_mode", "passthrough", "-f", "md5", "-"])
        };
        assert_eq!(decoded(&again), decoded(&source), "{stream}");
    }
}

/// `testdata/flv/NAME.flv`.
fn capture(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/flv/{name}.flv", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Kind, id, CODECS, number of configurations, samples and sync samples of each track.
fn check(name: &str, want: &[(TrackKind, u8, &str, usize, usize, usize)]) -> Vec<Stream> {
    let mut streams = demux(&capture(name), 1_000);
    streams.sort_by_key(|stream| (stream.kind, stream.track_id));
    let got: Vec<_> = streams
        .iter()
        .map(|s| {
            let sync = s.samples.iter().filter(|sample| sample.sync).count();
            (s.kind, s.track_id, s.tracks[0].codec.rfc6381(), s.tracks.len(), s.samples.len(), sync)
        })
        .collect();
    let want: Vec<_> =
        want.iter().map(|(k, id, codec, t, n, sync)| (*k, *id, (*codec).to_owned(), *t, *n, *sync)).collect();
    assert_eq!(got, want);
    streams
}

use TrackKind::{Audio, Video};

#[test]
fn enhanced_rtmp_hevc_and_opus() {
    let want = [(Video, 0, "hvc1.1.6.L30.90", 1, 10, 1), (Audio, 0, "opus", 1, 21, 21)];
    let streams = check("ffmpeg9_hevc_bframes_opus", &want);
    let mut pts: Vec<_> = streams[0].samples.iter().map(Sample::pts).collect();
    pts.sort_unstable();
    assert!(pts.windows(2).all(|pair| pair[1] - pair[0] == 3_600), "25 frames a second: {pts:?}");
    assert!(streams[1].samples.windows(2).all(|pair| pair[1].dts - pair[0].dts == 960));

    // Its pictures decode from a byte stream.
    let CodecConfig::Hevc(config) = streams[0].tracks[0].codec.as_ref() else { panic!("an H.265 track") };
    let mut annexb = Vec::new();
    for sample in &streams[0].samples {
        hevc::write_annexb(config, &sample.payload, sample.sync, &mut annexb);
    }
    let file = TempFile::new("h265", &[&annexb]);
    assert_eq!(complaints("error", &file), "");
    assert_eq!(packets(&file, "v:0").len(), 10);
}

#[test]
fn enhanced_rtmp_av1_and_ac3() {
    // SVT-AV1's record and the sequence header in its stream disagree: the second one counts.
    check(
        "ffmpeg9_svtav1_ac3_no_sequence_header",
        &[(Video, 0, "av01.0.00M.08", 2, 10, 1), (Audio, 0, "ac-3", 1, 13, 13)],
    );
}

#[test]
fn enhanced_rtmp_vp9_and_eac3() {
    check("ffmpeg9_vp9_full_box_record_eac3", &[(Video, 0, "vp09.00.10.08", 1, 10, 1), (Audio, 0, "ec-3", 1, 13, 13)]);
}

#[test]
fn enhanced_rtmp_multitrack() {
    let want = [
        (Video, 0, "avc1.64000A", 1, 10, 1),
        (Video, 1, "avc1.64000A", 1, 10, 1),
        (Audio, 0, "mp4a.40.2", 1, 20, 20),
        (Audio, 1, "mp4a.40.2", 1, 20, 20),
    ];
    let streams = check("ffmpeg9_two_video_two_audio_tracks", &want);
    assert_eq!(streams[0].samples, streams[1].samples, "both tracks are the same picture");
}
