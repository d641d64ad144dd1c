//! FLV and Enhanced RTMP v2: messages built by hand, messages of real encoders, and round trips.

use base::Timescale;
use bytes::{Bytes, BytesMut};
use media::{
    CodecConfig, Error, Sample, Track, TrackKind,
    codec::{aac, ac3, av1, avc, hevc, opus, vp9},
    flv::{Demuxer, MAX_TRACKS, Muxer, Reader, Unit, frame_header, sequence_header, tag_header, timestamp_ms},
};
use proptest::prelude::*;

use crate::codec_golden::*;

const IDR: &[u8] = &[0, 0, 0, 4, 0x65, 0x88, 1, 2];
const SLICE: &[u8] = &[0, 0, 0, 3, 0x41, 0x9A, 7];

fn avc_track() -> Track {
    Track::new(CodecConfig::Avc(avc::Config::from_record(&hex(AVC_X264_HIGH)).unwrap().0))
}

fn hevc_track() -> Track {
    Track::new(CodecConfig::Hevc(hevc::Config::from_record(&hex(HEVC_X265_MAIN)).unwrap().0))
}

fn av1_track() -> Track {
    Track::new(CodecConfig::Av1(av1::Config::from_record(&hex(AV1_AOM)).unwrap()))
}

fn vp9_track() -> Track {
    Track::new(CodecConfig::Vp9(vp9::Config::from_key_frame(&hex(VP9_KEY_FRAME)).unwrap()))
}

fn aac_track() -> Track {
    Track::new(CodecConfig::Aac(aac::Config::from_record(&hex(AAC_FFMPEG_STEREO)).unwrap()))
}

fn opus_track() -> Track {
    Track::new(CodecConfig::Opus(opus::Config::from_head(&hex(OPUS_HEAD)).unwrap()))
}

fn ac3_track(frame: &str) -> Track {
    Track::new(CodecConfig::Ac3(ac3::Config::from_packet(&hex(frame)).unwrap()))
}

fn message(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

fn video(reader: &mut Reader, timestamp_ms: i64, parts: &[&[u8]]) -> Vec<Unit> {
    reader.read_video(timestamp_ms, message(parts)).unwrap().into_iter().collect()
}

fn audio(reader: &mut Reader, timestamp_ms: i64, parts: &[&[u8]]) -> Vec<Unit> {
    reader.read_audio(timestamp_ms, message(parts)).unwrap().into_iter().collect()
}

fn track(track_id: u8, track: &Track) -> Unit {
    Unit::Track { track_id, track: track.clone() }
}

fn picture(track_id: u8, dts: i64, cts_offset: i32, sync: bool, payload: &[u8]) -> Unit {
    let payload = Bytes::copy_from_slice(payload);
    Unit::Sample { track_id, sample: Sample { dts, cts_offset, duration: 0, sync, payload } }
}

fn sound(track_id: u8, dts: i64, duration: u32, payload: &[u8]) -> Unit {
    let payload = Bytes::copy_from_slice(payload);
    Unit::Sample { track_id, sample: Sample { dts, cts_offset: 0, duration, sync: true, payload } }
}

#[test]
fn legacy_avc_and_aac() {
    let mut reader = Reader::new();
    let record = hex(AVC_X264_HIGH);
    assert_eq!(video(&mut reader, 0, &[&[0x17, 0, 0, 0, 0], &record]), [track(0, &avc_track())]);
    assert_eq!(video(&mut reader, 0, &[&[0x17, 1, 0, 0, 66], IDR]), [picture(0, 0, 5_940, true, IDR)]);
    assert_eq!(video(&mut reader, 33, &[&[0x27, 1, 0xFF, 0xFF, 0xFF], SLICE]), [picture(0, 2_970, -90, false, SLICE)]);
    assert_eq!(video(&mut reader, 66, &[&[0x17, 2, 0, 0, 0]]), [Unit::End]);

    assert_eq!(audio(&mut reader, 0, &[&[0xAF, 0], &hex(AAC_FFMPEG_STEREO)]), [track(0, &aac_track())]);
    assert_eq!(audio(&mut reader, 0, &[&[0xAF, 1, 0x21, 0x10]]), [sound(0, 0, 1_024, &[0x21, 0x10])]);
    assert_eq!(audio(&mut reader, 21, &[&[0xAF, 1, 0x21]]), [sound(0, 1_024, 1_024, &[0x21])]);
    assert_eq!(audio(&mut reader, 500, &[&[0xAF, 1, 0x21]]), [sound(0, 24_000, 1_024, &[0x21])]);
}

#[test]
fn the_payload_is_a_slice_of_the_message() {
    let mut reader = Reader::new();
    video(&mut reader, 0, &[&[0x17, 0, 0, 0, 0], &hex(AVC_X264_HIGH)]);
    audio(&mut reader, 0, &[&[0xAF, 0], &hex(AAC_FFMPEG_STEREO)]);
    let check = |message: Bytes, units: media::flv::Units, offset: usize| {
        let payload = units.into_iter().find_map(|unit| match unit {
            Unit::Sample { sample, .. } => Some(sample.payload),
            _ => None,
        });
        assert_eq!(payload.unwrap().as_ptr(), message[offset..].as_ptr());
    };
    let body = message(&[&[0x17, 1, 0, 0, 0], IDR]);
    check(body.clone(), reader.read_video(0, body).unwrap(), 5);
    let body = message(&[&[0x17, 1, 0, 0, 0, 0, 0, 0, 2, 9, 0xF0], IDR]);
    check(body.clone(), reader.read_video(0, body).unwrap(), 11);
    let body = message(&[&[0xAF, 1, 1, 2, 3]]);
    check(body.clone(), reader.read_audio(0, body).unwrap(), 2);
}

#[test]
fn the_container_does_not_decide_what_is_a_key_frame() {
    let mut reader = Reader::new();
    video(&mut reader, 0, &[&[0x17, 0, 0, 0, 0], &hex(AVC_X264_HIGH)]);
    assert_eq!(video(&mut reader, 0, &[&[0x17, 1, 0, 0, 0], SLICE]), [picture(0, 0, 0, false, SLICE)]);
    assert_eq!(video(&mut reader, 0, &[&[0x27, 1, 0, 0, 0], IDR]), [picture(0, 0, 0, true, IDR)]);
}

#[test]
fn frames_before_their_sequence_header_are_counted() {
    let mut reader = Reader::new();
    assert_eq!(video(&mut reader, 0, &[&[0x17, 1, 0, 0, 0], IDR]), []);
    assert_eq!(video(&mut reader, 0, &[b"\x91av01", &hex("320310aabb")]), []);
    assert_eq!(audio(&mut reader, 0, &[&[0xAF, 1, 0x21]]), []);
    assert_eq!(audio(&mut reader, 0, &[b"\x91Opus", &[0xF8]]), []);
    assert_eq!(reader.orphans(), 4);
    // The track of another codec does not help.
    video(&mut reader, 0, &[&[0x17, 0, 0, 0, 0], &hex(AVC_X264_HIGH)]);
    assert_eq!(video(&mut reader, 0, &[b"\x93hvc1", IDR]), []);
    assert_eq!(reader.orphans(), 5);
}

#[test]
fn a_repeated_sequence_header_says_nothing_new() {
    let mut reader = Reader::new();
    let (high, baseline) = (hex(AVC_X264_HIGH), hex(AVC_X264_BASELINE));
    let start = |reader: &mut Reader, record: &[u8]| video(reader, 0, &[&[0x17, 0, 0, 0, 0], record]).len();
    assert_eq!(start(&mut reader, &high), 1);
    assert_eq!(start(&mut reader, &high), 0);
    assert_eq!(start(&mut reader, &high[..high.len() - 4]), 0, "other bytes, the same configuration");
    assert_eq!(start(&mut reader, &[]), 0);
    assert_eq!(start(&mut reader, &baseline), 1);
    assert_eq!(video(&mut reader, 0, &[b"\x90avc1", &baseline]), [], "the same through the extended header");
    let aac = |reader: &mut Reader, record: &str| audio(reader, 0, &[&[0xAF, 0], &hex(record)]).len();
    assert_eq!([aac(&mut reader, "1190"), aac(&mut reader, "1190"), aac(&mut reader, "1210")], [1, 0, 1]);
    assert_eq!(audio(&mut reader, 0, &[b"\x90mp4a", &hex("1210")]), []);
}

#[test]
fn parameter_sets_in_band_are_a_new_track() {
    let mut reader = Reader::new();
    video(&mut reader, 0, &[&[0x17, 0, 0, 0, 0], &hex(AVC_X264_HIGH)]);
    let CodecConfig::Avc(baseline) = CodecConfig::Avc(avc::Config::from_record(&hex(AVC_X264_BASELINE)).unwrap().0)
    else {
        panic!("an AVC configuration")
    };
    let sets: Vec<u8> = [&baseline.sps[0], &baseline.pps[0]]
        .into_iter()
        .flat_map(|set| [&(set.len() as u32).to_be_bytes(), set.as_ref()].concat())
        .collect();
    let units = video(&mut reader, 10, &[&[0x17, 1, 0, 0, 0], &sets, IDR]);
    assert_eq!(units, [track(0, &Track::new(CodecConfig::Avc(baseline))), picture(0, 900, 0, true, IDR)]);
    assert_eq!(video(&mut reader, 20, &[&[0x17, 1, 0, 0, 0], &sets, IDR]), [picture(0, 1_800, 0, true, IDR)]);
}

#[test]
fn hevc_in_both_ways() {
    let idr: &[u8] = &[0, 0, 0, 3, 19 << 1, 1, 7];
    let check = |start: &[u8], frame: &[u8], cts: i32| {
        let mut reader = Reader::new();
        assert_eq!(video(&mut reader, 0, &[start, &hex(HEVC_X265_MAIN)]), [track(0, &hevc_track())]);
        assert_eq!(video(&mut reader, 40, &[frame, idr]), [picture(0, 3_600, cts, true, idr)]);
    };
    check(b"\x90hvc1", b"\x91hvc1\x00\x00\x50", 7_200);
    check(b"\x90hvc1", b"\x93hvc1", 0);
    check(&[0x1C, 0, 0, 0, 0], &[0x1C, 1, 0, 0, 0x50], 7_200);
}

#[test]
fn vp9_waits_for_a_key_frame_to_know_its_size() {
    let mut reader = Reader::new();
    let key = hex(VP9_KEY_FRAME);
    let inter = hex("86004092f0614000");
    assert_eq!(video(&mut reader, 0, &[b"\x90vp09", &hex(VP9_FULL_BOX)]), []);
    assert_eq!(video(&mut reader, 0, &[b"\xA1vp09", &inter]), []);
    assert_eq!(reader.orphans(), 1);
    let units = video(&mut reader, 10, &[b"\x91vp09", &key]);
    assert_eq!(units, [track(0, &vp9_track()), picture(0, 900, 0, true, &key)]);
    assert_eq!(video(&mut reader, 20, &[b"\xA1vp09", &inter]), [picture(0, 1_800, 0, false, &inter)]);
    assert_eq!(video(&mut reader, 30, &[b"\x91vp09", &key]), [picture(0, 2_700, 0, true, &key)]);
    let other_size = hex("824983420003f003f60238241c184a00");
    let units = video(&mut reader, 40, &[b"\x91vp09", &other_size]);
    let Some(Unit::Track { track, .. }) = units.first() else { panic!("a new track for a new size: {units:?}") };
    assert_eq!(track.codec.video().map(|info| (info.width, info.height)), Some((64, 64)));
}

#[test]
fn av1_with_and_without_a_sequence_header_in_the_record() {
    let header = hex("0a0b000000043cfeccdaf90040");
    let key = [&header[..], &hex("320310aabb")].concat();
    let mut reader = Reader::new();
    assert_eq!(video(&mut reader, 0, &[b"\x90av01", &hex(AV1_AOM)]), [track(0, &av1_track())]);
    assert_eq!(video(&mut reader, 0, &[b"\x91av01", &hex("1200"), &key]), [picture(0, 0, 0, true, &key)]);
    let mut reader = Reader::new();
    assert_eq!(video(&mut reader, 0, &[b"\x90av01", &hex("81000c00")]), []);
    let units = video(&mut reader, 0, &[b"\x91av01", &key]);
    assert_eq!(units, [track(0, &av1_track()), picture(0, 0, 0, true, &key)]);
}

#[test]
fn opus_and_ac3() {
    let mut reader = Reader::new();
    assert_eq!(audio(&mut reader, 0, &[b"\x90Opus", &hex(OPUS_HEAD)]), [track(0, &opus_track())]);
    assert_eq!(audio(&mut reader, 0, &[b"\x91Opus", &[0xF8, 1]]), [sound(0, 0, 960, &[0xF8, 1])]);
    assert_eq!(audio(&mut reader, 20, &[b"\x91Opus", &[0xFB, 3]]), [sound(0, 960, 2_880, &[0xFB, 3])]);

    for (fourcc, frame, other) in [(b"ac-3", AC3_STEREO, AC3_5_1), (b"ec-3", EAC3_STEREO, AC3_STEREO)] {
        let mut reader = Reader::new();
        let (frame_bytes, other_bytes) = (hex(frame), hex(other));
        assert_eq!(audio(&mut reader, 0, &[b"\x90", fourcc]), []);
        let units = audio(&mut reader, 0, &[b"\x91", fourcc, &frame_bytes]);
        assert_eq!(units, [track(0, &ac3_track(frame)), sound(0, 0, 1_536, &frame_bytes)]);
        assert_eq!(audio(&mut reader, 32, &[b"\x91", fourcc, &frame_bytes]), [sound(0, 1_536, 1_536, &frame_bytes)]);
        let units = audio(&mut reader, 64, &[b"\x91", fourcc, &other_bytes]);
        assert_eq!(units, [track(0, &ac3_track(other)), sound(0, 3_072, 1_536, &other_bytes)]);
    }
}

#[test]
fn messages_for_others_mean_nothing() {
    let mut reader = Reader::new();
    for body in [
        &b""[..],
        b"\x57\x00",     // a command frame: start of seeking
        b"\xD3hvc1\x00", // the same in an extended header
        b"\x94avc1\x02\x00\x09colorInfo",
        b"\xD4hvc1\x02\x00\x09colorInfo", // as FFmpeg sends it
    ] {
        assert!(reader.read_video(0, Bytes::from_static(body)).unwrap().is_empty(), "{body:02x?}");
    }
    for body in [&b""[..], b"\x94Opus\x01\x01\x00\x00\x00\x04"] {
        assert!(reader.read_audio(0, Bytes::from_static(body)).unwrap().is_empty(), "{body:02x?}");
    }
    assert_eq!(reader.orphans(), 0);
}

#[test]
fn codecs_that_cannot_be_packaged_are_named() {
    let check = |video: bool, body: &'static [u8], name: &str| {
        let mut reader = Reader::new();
        let body = Bytes::from_static(body);
        let got = if video { reader.read_video(0, body) } else { reader.read_audio(0, body) };
        assert_eq!(got, Err(Error::Unsupported(name.into())));
    };
    check(true, b"\x22\x00", "Sorenson H.263 video");
    check(true, b"\x13\x00", "Screen video");
    check(true, b"\x14\x00", "On2 VP6 video");
    check(true, b"\x1E\x00", "video with the codec id 14");
    check(true, b"\x90vvc1", "H.266 video (vvc1)");
    check(true, b"\x90vp08", "VP8 video (vp08)");
    check(true, b"\x90\x00\xFFxy", "video with the FourCC \\x00\\xffxy");
    check(true, b"\x95av01\x80", "a video configuration as MPEG-2 TS descriptor");
    check(false, b"\x2F\x00", "MP3 audio");
    check(false, b"\xEF\x00", "MP3 audio");
    check(false, b"\xB2\x00", "Speex audio");
    check(false, b"\x52\x00", "Nellymoser audio");
    check(false, b"\x3F\x00", "linear PCM audio");
    check(false, b"\x90fLaC", "FLAC audio (fLaC)");
    check(false, b"\x90.mp3", "MP3 audio (.mp3)");
}

#[test]
fn multitrack_in_its_three_layouts() {
    let (avc, hevc) = (hex(AVC_X264_HIGH), hex(HEVC_X265_MAIN));
    let size = |bytes: &[u8]| [0, (bytes.len() >> 8) as u8, bytes.len() as u8];
    let hevc_idr: &[u8] = &[0, 0, 0, 3, 19 << 1, 1, 7];
    let mut reader = Reader::new();

    let units = video(&mut reader, 0, &[b"\x96\x00avc1\x01", &avc]);
    assert_eq!(units, [track(1, &avc_track())], "OneTrack, SequenceStart");
    let starts = [&b"\x96\x20avc1\x02"[..], &size(&avc), &avc, b"hvc1\x03", &size(&hevc), &hevc];
    assert_eq!(video(&mut reader, 0, &starts), [track(2, &avc_track()), track(3, &hevc_track())]);

    let one = [&[0, 0, 66][..], IDR].concat();
    let two = [&[0, 0, 0][..], SLICE].concat();
    let frames = [&b"\x96\x11avc1\x01"[..], &size(&one), &one, b"\x02", &size(&two), &two];
    let want = [picture(1, 900, 5_940, true, IDR), picture(2, 900, 0, false, SLICE)];
    assert_eq!(video(&mut reader, 10, &frames), want, "ManyTracks, CodedFrames");

    let frames = [
        &b"\x96\x23avc1\x01"[..],
        &size(SLICE),
        SLICE,
        b"hvc1\x03",
        &size(hevc_idr),
        hevc_idr,
        b"avc1\x02",
        &size(IDR),
        IDR,
    ];
    let want =
        [picture(1, 1_800, 0, false, SLICE), picture(3, 1_800, 0, true, hevc_idr), picture(2, 1_800, 0, true, IDR)];
    assert_eq!(video(&mut reader, 20, &frames), want, "ManyTracksManyCodecs, CodedFramesX");

    // As FFmpeg sends a second audio track.
    assert_eq!(audio(&mut reader, 0, &[b"\x95\x00mp4a\x01", &hex("118856e500")]).len(), 1);
    assert_eq!(audio(&mut reader, 0, &[b"\x95\x04mp4a\x01\x01\x01\x00\x00\x00\x04"]), []);
    assert_eq!(audio(&mut reader, 0, &[b"\x95\x01mp4a\x01\xDC"]), [sound(1, 0, 1_024, &[0xDC])]);
}

#[test]
fn multitrack_that_lies_is_an_error() {
    let check = |body: &'static [u8]| {
        assert!(Reader::new().read_video(0, Bytes::from_static(body)).is_err(), "{body:02x?}");
    };
    check(b"\x96");
    check(b"\x96\x06avc1\x00"); // multitrack inside multitrack
    check(b"\x96\x30avc1\x00"); // a layout that is none
    check(b"\x96\x10avc1\x00\x00\x00\x05abcd"); // a size past the end
    check(b"\x96\x20avc"); // no FourCC
    let mut reader = Reader::new();
    let record = hex(AVC_X264_HIGH);
    for id in 0..MAX_TRACKS as u8 {
        video(&mut reader, 0, &[b"\x96\x00avc1", &[id], &record]);
    }
    let error = reader.read_video(0, message(&[b"\x96\x00avc1\xFF", &record])).unwrap_err();
    assert_eq!(error.to_string(), "number of tracks of 17 is over the limit of 16");
}

#[test]
fn mod_ex_moves_the_timestamp_by_nanoseconds() {
    let mut reader = Reader::new();
    video(&mut reader, 0, &[b"\x90hvc1", &hex(HEVC_X265_MAIN)]);
    let idr: &[u8] = &[0, 0, 0, 3, 19 << 1, 1, 7];
    // 500,000 ns are 45 ticks.
    let units = video(&mut reader, 1, &[b"\x97\x02\x07\xA1\x20\x03hvc1", idr]);
    assert_eq!(units, [picture(0, 135, 0, true, idr)]);
    // An unknown one before it, of 256 bytes with a 16-bit size, is passed over.
    let unknown = [&b"\x97\xFF\x00\xFF"[..], &[9; 256], b"\x17\x02\x07\xA1\x20\x03hvc1"].concat();
    assert_eq!(video(&mut reader, 1, &[&unknown, idr]), [picture(0, 135, 0, true, idr)]);
    assert!(reader.read_video(0, Bytes::from_static(b"\x97\xFF\xFF\xFF")).is_err());
}

#[test]
fn a_broken_frame_leaves_the_reader_usable() {
    let mut reader = Reader::new();
    video(&mut reader, 0, &[&[0x17, 0, 0, 0, 0], &hex(AVC_X264_HIGH)]);
    for body in [
        &b"\x17"[..],
        b"\x17\x01\x00",
        b"\x17\x01\x00\x00\x00\x00\x00\x00\x09\x65",
        b"\x17\x03\x00\x00\x00",
        b"\x17\x00\x00\x00\x00\x01\x64",
    ] {
        assert!(reader.read_video(0, Bytes::from_static(body)).is_err(), "{body:02x?}");
    }
    assert_eq!(video(&mut reader, 0, &[&[0x17, 1, 0, 0, 0], IDR]), [picture(0, 0, 0, true, IDR)]);
}

#[test]
fn what_is_written_before_a_payload() {
    let sample = |dts, cts_offset, sync| Sample { dts, cts_offset, duration: 0, sync, payload: Bytes::new() };
    let check = |track: &Track, sample: Sample, header: &[u8], at_ms: i64| {
        assert_eq!(to_hex(&frame_header(track, &sample)), to_hex(header));
        assert_eq!(timestamp_ms(track, &sample), at_ms);
    };
    check(&avc_track(), sample(2_970, 5_940, true), b"\x17\x01\x00\x00\x42", 33);
    check(&avc_track(), sample(3_003, -90, false), b"\x27\x01\xFF\xFF\xFF", 33);
    check(&hevc_track(), sample(0, 0, true), b"\x93hvc1", 0);
    check(&hevc_track(), sample(90, 180, false), b"\xA1hvc1\x00\x00\x02", 1);
    check(&av1_track(), sample(0, 0, false), b"\xA1av01", 0);
    check(&vp9_track(), sample(0, 0, true), b"\x91vp09", 0);
    check(&aac_track(), sample(1_024, 0, true), b"\xAF\x01", 21);
    check(&aac_track(), sample(-1_024, 0, true), b"\xAF\x01", -21);
    check(&opus_track(), sample(960, 0, true), b"\x91Opus", 20);
    check(&ac3_track(AC3_STEREO), sample(1_536, 0, true), b"\x91ac-3", 32);
    check(&ac3_track(EAC3_STEREO), sample(1_536, 0, true), b"\x91ec-3", 32);
    let avc = sequence_header(&avc_track().codec).unwrap();
    assert_eq!(to_hex(&avc), format!("1700000000{AVC_X264_HIGH}"));
    assert_eq!(sequence_header(&ac3_track(AC3_STEREO).codec), None);
}

/// The units of a stream, pushed in pieces of the given sizes, cyclically.
fn demux(stream: &[u8], pieces: &[usize]) -> Vec<(TrackKind, Unit)> {
    let (mut demuxer, mut units, mut rest) = (Demuxer::new(), Vec::new(), stream);
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*piece).clamp(1, rest.len()));
        demuxer.push(now);
        rest = later;
        while let Some(unit) = demuxer.next_unit().unwrap() {
            units.push(unit);
        }
    }
    units
}

#[test]
fn a_tag_is_there_with_its_last_byte() {
    let (muxer, mut stream) = (Muxer::new(), BytesMut::new());
    muxer.start(&[&avc_track()], &mut stream);
    let sample = Sample { dts: 900, cts_offset: 0, duration: 0, sync: true, payload: Bytes::from_static(IDR) };
    muxer.sample(&avc_track(), &sample, &mut stream);
    let mut demuxer = Demuxer::new();
    let last = stream.len() - 4 - 1;
    demuxer.push(&stream[..last]);
    assert_eq!(demuxer.next_unit(), Ok(Some((TrackKind::Video, track(0, &avc_track())))));
    assert_eq!(demuxer.next_unit(), Ok(None));
    demuxer.push(&stream[last..=last]);
    assert_eq!(demuxer.next_unit(), Ok(Some((TrackKind::Video, picture(0, 900, 0, true, IDR)))));
}

#[test]
fn a_broken_tag_costs_only_itself() {
    let (muxer, mut stream) = (Muxer::new(), BytesMut::new());
    muxer.start(&[&avc_track()], &mut stream);
    let sample =
        |payload| Sample { dts: 0, cts_offset: 0, duration: 0, sync: true, payload: Bytes::from_static(payload) };
    muxer.sample(&avc_track(), &sample(&[0, 0, 0, 9, 0x65]), &mut stream);
    muxer.sample(&avc_track(), &sample(IDR), &mut stream);
    let mut demuxer = Demuxer::new();
    demuxer.push(&stream);
    assert!(matches!(demuxer.next_unit(), Ok(Some((_, Unit::Track { .. })))));
    assert!(matches!(demuxer.next_unit(), Err(Error::Truncated { .. })));
    assert_eq!(demuxer.next_unit(), Ok(Some((TrackKind::Video, picture(0, 0, 0, true, IDR)))));
    assert_eq!(demuxer.next_unit(), Ok(None));
}

#[test]
fn a_stream_that_is_no_flv_stays_broken() {
    let check = |stream: &[u8], want: &str| {
        let mut demuxer = Demuxer::new();
        demuxer.push(stream);
        for _ in 0..2 {
            assert_eq!(demuxer.next_unit().unwrap_err().to_string(), want);
        }
    };
    check(b"GIF89a...", "FLV header: signature GIF, not FLV");
    check(b"FLV\x02\x05\x00\x00\x00\x09", "FLV header: version 2, data offset 9");
    check(b"FLV\x01\x05\x00\x00\x00\x08", "FLV header: version 1, data offset 8");
    check(b"FLV\x01\x05\xFF\xFF\xFF\xFF", "FLV header of 4294967295 is over the limit of 1024");
    let header = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00";
    let tag = |tag: &[u8]| [&header[..], tag].concat();
    check(&tag(b"\x09\xFF\xFF\xFF\x00\x00\x00\x00\x00\x00\x00"), "FLV tag of 16777215 is over the limit of 12582912");
    check(&tag(b"\x29\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"), "encrypted FLV is not supported");
}

#[test]
fn timestamps_go_on_over_the_wrap_around() {
    let mut stream = BytesMut::new();
    let (muxer, track) = (Muxer::new(), avc_track());
    muxer.start(&[&track], &mut stream);
    let times_ms = [0, (1_i64 << 31) - 1, (1 << 32) - 30, (1 << 32) - 10, (1 << 32) + 10, 5 << 30];
    for time_ms in times_ms {
        let sample =
            Sample { dts: time_ms * 90, cts_offset: 0, duration: 0, sync: true, payload: Bytes::from_static(IDR) };
        muxer.sample(&track, &sample, &mut stream);
    }
    let got: Vec<_> = demux(&stream, &[7])
        .into_iter()
        .filter_map(|(_, unit)| match unit {
            Unit::Sample { sample, .. } => Some(sample.dts / 90),
            _ => None,
        })
        .collect();
    assert_eq!(got, times_ms);
}

#[test]
fn an_origin_moves_the_timeline() {
    let mut stream = BytesMut::new();
    let (muxer, track) = (Muxer::with_origin(-40), avc_track());
    muxer.start(&[&track], &mut stream);
    for dts in [-3_600, 0] {
        let sample = Sample { dts, cts_offset: 0, duration: 0, sync: true, payload: Bytes::from_static(IDR) };
        muxer.sample(&track, &sample, &mut stream);
    }
    let units: Vec<_> = demux(&stream, &[1_000]).into_iter().map(|(_, unit)| unit).skip(1).collect();
    assert_eq!(units, [picture(0, 0, 0, true, IDR), picture(0, 3_600, 0, true, IDR)]);
}

#[test]
fn tag_headers_for_gathered_writes_are_the_muxers() {
    let mut stream = BytesMut::new();
    let track = avc_track();
    let sample =
        Sample { dts: 90 * 0x1234_5678, cts_offset: 0, duration: 0, sync: true, payload: Bytes::from_static(IDR) };
    Muxer::new().sample(&track, &sample, &mut stream);
    let (header, data_bytes) = (frame_header(&track, &sample), 5 + IDR.len());
    let tag = tag_header(TrackKind::Video, timestamp_ms(&track, &sample), data_bytes);
    let want = [&tag[..], &header, IDR, &(data_bytes as u32 + 11).to_be_bytes()].concat();
    assert_eq!(to_hex(&stream), to_hex(&want));
}

fn tracks() -> impl Strategy<Value = (Track, Track)> {
    let video = prop::sample::select(vec![avc_track(), hevc_track(), av1_track(), vp9_track()]);
    let audio = prop::sample::select(vec![aac_track(), opus_track()]);
    (video, audio)
}

/// A payload that its codec reads as `sync`, with `noise` in it.
fn payload_of(codec: &CodecConfig, sync: bool, noise: &[u8]) -> Bytes {
    let nal = |head: &[u8]| [&((head.len() + noise.len()) as u32).to_be_bytes(), head, noise].concat();
    match codec {
        CodecConfig::Avc(_) => nal(&[if sync { 0x65 } else { 0x41 }]),
        CodecConfig::Hevc(_) => nal(&[if sync { 19 << 1 } else { 2 }, 1]),
        CodecConfig::Av1(_) if sync => {
            [&hex("0a0b000000043cfeccdaf90040")[..], &[0x32, noise.len() as u8 + 1, 0x10], noise].concat()
        }
        CodecConfig::Av1(_) => [&[0x32, noise.len() as u8 + 1, 0x30], noise].concat(),
        CodecConfig::Vp9(_) if sync => [&hex(VP9_KEY_FRAME)[..], noise].concat(),
        CodecConfig::Vp9(_) => [&hex("86004092f0614000")[..], noise].concat(),
        _ => [&[0xF8], noise].concat(),
    }
    .into()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_muxer_writes_the_demuxer_reads(
        (video, audio) in tracks(),
        frames in prop::collection::vec((1_i64..5_000, -300_i32..300, any::<bool>(), prop::collection::vec(any::<u8>(), 1..60)), 1..20),
        pieces in prop::collection::vec(1_usize..200, 1..5),
    ) {
        let composes = matches!(*video.codec, CodecConfig::Avc(_) | CodecConfig::Hevc(_));
        let (muxer, mut stream) = (Muxer::new(), BytesMut::new());
        muxer.start(&[&video, &audio], &mut stream);
        let (mut time_ms, mut want) = (0, Vec::new());
        for (step_ms, composition_ms, sync, noise) in frames {
            time_ms += step_ms;
            let cts_offset = if composes { composition_ms * 90 } else { 0 };
            let payload = payload_of(&video.codec, sync || want.is_empty(), &noise);
            let sample = Sample { dts: time_ms * 90, cts_offset, duration: 0, sync: sync || want.is_empty(), payload };
            muxer.sample(&video, &sample, &mut stream);
            want.push((TrackKind::Video, sample));
            let payload = payload_of(&audio.codec, true, &noise);
            let duration = audio.codec.audio().map_or(0, |info| info.frame_samples);
            let sample = Sample { dts: audio.timescale.from_ms(time_ms), cts_offset: 0, duration, sync: true, payload };
            muxer.sample(&audio, &sample, &mut stream);
            want.push((TrackKind::Audio, sample));
        }
        let mut got = Vec::new();
        let mut seen = Vec::new();
        for (kind, unit) in demux(&stream, &pieces) {
            match unit {
                Unit::Track { track, .. } => seen.push(track),
                Unit::Sample { sample, .. } => got.push((kind, sample)),
                Unit::End => {}
            }
        }
        seen.sort_by_key(Track::kind);
        prop_assert_eq!(seen, [video, audio.clone()]);
        prop_assert_eq!(got.len(), want.len());
        for ((kind, got), (want_kind, want)) in got.into_iter().zip(want) {
            prop_assert_eq!(kind, want_kind);
            // Audio stands on its exact clock, within half a packet (or 2 ms) of its stamp.
            let tolerance = if kind == TrackKind::Audio { i64::from(want.duration / 2) } else { 0 };
            prop_assert!((got.dts - want.dts).abs() <= tolerance.max(0));
            prop_assert_eq!(Sample { dts: want.dts, ..got }, want);
        }
    }

    #[test]
    fn no_split_of_a_stream_changes_its_units(
        pieces in prop::collection::vec(1_usize..40, 1..8),
        samples in prop::collection::vec((any::<bool>(), 0_i64..100_000), 1..10),
    ) {
        let (muxer, mut stream) = (Muxer::new(), BytesMut::new());
        muxer.start(&[&avc_track(), &aac_track()], &mut stream);
        for (sync, dts) in samples {
            let payload = Bytes::from_static(if sync { IDR } else { SLICE });
            muxer.sample(&avc_track(), &Sample { dts, cts_offset: 0, duration: 0, sync, payload }, &mut stream);
        }
        prop_assert_eq!(demux(&stream, &pieces), demux(&stream, &[stream.len()]));
    }

    #[test]
    fn no_message_panics(
        head in prop::sample::select(vec![&b""[..], b"\x17", b"\x90", b"\x91", b"\x93", b"\x96", b"\x97", b"\xAF", b"\x95"]),
        fourcc in prop::sample::select(vec![&b""[..], b"avc1", b"hvc1", b"av01", b"vp09", b"Opus", b"mp4a", b"ac-3", b"ec-3"]),
        body in prop::collection::vec(any::<u8>(), 0..200),
        time in any::<i64>(),
    ) {
        let mut reader = Reader::new();
        for (codec, record) in [(b"avc1", AVC_X264_HIGH), (b"hvc1", HEVC_X265_MAIN), (b"av01", AV1_AOM), (b"vp09", VP9_FULL_BOX)] {
            let _ = reader.read_video(0, message(&[b"\x90", codec, &hex(record)]));
            let _ = reader.read_video(time, message(&[head, fourcc, &body]));
        }
        for (codec, record) in [(b"mp4a", AAC_FFMPEG_STEREO), (b"Opus", OPUS_HEAD)] {
            let _ = reader.read_audio(0, message(&[b"\x90", codec, &hex(record)]));
            let _ = reader.read_audio(time, message(&[head, fourcc, &body]));
        }
    }

    #[test]
    fn no_stream_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        noise in prop::collection::vec(any::<u8>(), 0..400),
        pieces in prop::collection::vec(1_usize..300, 1..4),
    ) {
        let (muxer, mut stream) = (Muxer::new(), BytesMut::new());
        muxer.start(&[&avc_track(), &aac_track()], &mut stream);
        for dts in 0..4 {
            let payload = Bytes::from_static(IDR);
            muxer.sample(&avc_track(), &Sample { dts, cts_offset: 9, duration: 0, sync: true, payload }, &mut stream);
        }
        for (index, byte) in changes {
            let index = index.index(stream.len());
            stream[index] = byte;
        }
        for stream in [&stream[..], &noise, &[&b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"[..], &noise].concat()] {
            let mut demuxer = Demuxer::new();
            for piece in stream.chunks(pieces[0]) {
                demuxer.push(piece);
                // An error of a tag's body lets the next one come; one of the framing comes for ever.
                for _ in 0..100 {
                    if demuxer.next_unit() == Ok(None) {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn muxed_audio_keeps_an_exact_clock() {
    for rate in ["1210", "1190", "1388"] {
        let track = Track::new(CodecConfig::Aac(aac::Config::from_record(&hex(rate)).unwrap()));
        let (muxer, mut stream) = (Muxer::new(), BytesMut::new());
        muxer.start(&[&track], &mut stream);
        for packet in 0..2_000 {
            let sample = Sample {
                dts: packet * 1_024,
                cts_offset: 0,
                duration: 1_024,
                sync: true,
                payload: Bytes::from_static(&[1]),
            };
            muxer.sample(&track, &sample, &mut stream);
        }
        let times = demux(&stream, &[4_096]).into_iter().filter_map(|(_, unit)| match unit {
            Unit::Sample { sample, .. } => Some(sample.dts),
            _ => None,
        });
        assert!(times.eq((0..2_000).map(|packet| packet * 1_024)), "{} Hz", track.timescale.get());
        assert_ne!(track.timescale, Timescale::VIDEO);
    }
}
