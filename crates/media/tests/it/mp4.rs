//! MP4 written and read again, and MP4 that nobody wrote.

use base::Timescale;
use bytes::Bytes;
use media::{
    CodecConfig, Sample, Track,
    codec::{VideoInfo, aac, ac3, av1, avc, hevc, opus, vp9},
    mp4,
};
use proptest::prelude::*;

use crate::mp4_sources::chunk_bytes;

/// x264, 320x180.
const AVC_RECORD: &str = "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000468ef8fcbfdf8f800";
/// x265, 320x180.
const HEVC_RECORD: &str = "0101600000009000000000003cf000fcfdf8f800000f03a00001001840010c01ffff01600000030090000003000003003c959409a1\
    0001002b42010101600000030090000003000003003ca00a080c1f3e595952930bc05a020000030002000003003210a2000100064401c073c189";
/// libaom, 320x180.
const AV1_RECORD: &str = "81000c000a0b000000043cfeccdaf90040";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(crate) fn avc_track() -> Track {
    Track::new(CodecConfig::Avc(avc::Config::from_record(&hex(AVC_RECORD)).unwrap().0))
}

pub(crate) fn hevc_track() -> Track {
    Track::new(CodecConfig::Hevc(hevc::Config::from_record(&hex(HEVC_RECORD)).unwrap().0))
}

pub(crate) fn aac_track() -> Track {
    // AAC-LC, 48 kHz, stereo.
    Track::new(CodecConfig::Aac(aac::Config::from_record(&[0x11, 0x90]).unwrap()))
}

fn tracks() -> Vec<Track> {
    let info = VideoInfo { width: 320, height: 180, frame_rate: None };
    let ac3 = ac3::Config { record: vec![0x10, 0x3D, 0xE0].into(), enhanced: false, sample_rate: 48_000, channels: 6 };
    let eac3 = ac3::Config {
        record: vec![0x06, 0x00, 0x20, 0x04, 0x00].into(),
        enhanced: true,
        sample_rate: 48_000,
        channels: 2,
    };
    let opus =
        opus::Config { channels: 2, pre_skip: 312, input_sample_rate: 44_100, output_gain: -3, mapping_family: 0 };
    let mut tracks = vec![
        avc_track(),
        hevc_track(),
        Track::new(CodecConfig::Av1(av1::Config::from_record(&hex(AV1_RECORD)).unwrap())),
        Track::new(CodecConfig::Vp9(vp9::Config::from_record(&[0, 10, 0x82, 1, 1, 1, 0, 0], info).unwrap())),
        aac_track(),
        Track::new(CodecConfig::Opus(opus)),
        Track::new(CodecConfig::Ac3(ac3)),
        Track::new(CodecConfig::Ac3(eac3)),
    ];
    tracks[0].timescale = Timescale::hz(12_800);
    tracks
}

#[test]
fn every_codec_comes_back_from_its_initialisation_segment() {
    for track in tracks() {
        let written = mp4::init_segment(&track, 7);
        assert_eq!(mp4::read_init(&written), Ok(vec![(7, track)]));
    }
}

#[test]
fn equal_configurations_give_equal_bytes() {
    assert_eq!(mp4::init_segment(&avc_track(), 1), mp4::init_segment(&avc_track(), 1));
}

/// Samples that follow one another from `base`, each payload one NAL unit of a slice.
fn samples(base: i64) -> impl Strategy<Value = Vec<Sample>> {
    let sample = (0..5_000_u32, -3_000..9_000_i32, any::<bool>(), 2..400_usize);
    let flat = prop::collection::vec(sample, 1..40);
    let even = (1..5_000_u32, 1..40_usize, 2..400_usize)
        .prop_map(|(duration, count, bytes)| (0..count).map(|i| (duration, 0, i == 0, bytes)).collect());
    prop_oneof![flat, even].prop_map(move |fields| {
        let mut dts = base;
        let mut next = |duration: u32| {
            dts += i64::from(duration);
            dts - i64::from(duration)
        };
        fields
            .into_iter()
            .map(|(duration, cts_offset, sync, bytes)| {
                let dts = next(duration);
                Sample { dts, cts_offset, duration, sync, payload: slice_nal(sync, bytes) }
            })
            .collect()
    })
}

/// A slice NAL unit of this many bytes behind its length: an IDR picture's or another's.
pub(crate) fn slice_nal(sync: bool, bytes: usize) -> Bytes {
    let mut payload = (bytes as u32).to_be_bytes().to_vec();
    payload.push(if sync { 0x65 } else { 0x41 });
    payload.extend((1..bytes).map(|i| (i % 251) as u8 | 0x80));
    payload.into()
}

/// Consecutive chunks of one track.
fn chunks() -> impl Strategy<Value = Vec<Vec<Sample>>> {
    (0..1_i64 << 40).prop_flat_map(|base| prop::collection::vec(samples(base), 1..5)).prop_map(|mut chunks| {
        let mut shift = 0;
        for samples in &mut chunks {
            for sample in samples.iter_mut() {
                sample.dts += shift;
            }
            shift += samples.iter().map(|s| i64::from(s.duration)).sum::<i64>();
        }
        chunks
    })
}

fn write(chunks: &[Vec<Sample>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, samples) in chunks.iter().enumerate() {
        out.extend_from_slice(&chunk_bytes(&mp4::Fragment {
            sequence: i as u32,
            track_id: 7,
            base_dts: samples[0].dts as u64,
            samples,
            producer_reference: (i % 2 == 1).then_some((u64::MAX, 1)),
            start_of_segment: i % 3 == 1,
        }));
    }
    out
}

fn demuxed(file: &[u8], piece_bytes: usize) -> Vec<mp4::Event> {
    let mut demuxer = mp4::Demuxer::new();
    let mut events = Vec::new();
    for piece in file.chunks(piece_bytes) {
        demuxer.push(piece).unwrap();
        events.extend(std::iter::from_fn(|| demuxer.poll()));
    }
    demuxer.finish().unwrap();
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn chunks_read_as_written(chunks in chunks()) {
        let read = mp4::read_chunks(&write(&chunks).into()).unwrap();
        prop_assert!(read.iter().all(|c| c.track_id == 7 && c.base_dts == c.samples[0].dts as u64));
        prop_assert_eq!(read.into_iter().map(|c| c.samples).collect::<Vec<_>>(), chunks);
    }

    #[test]
    fn the_demuxer_does_not_care_where_the_stream_is_cut(chunks in chunks(), piece_bytes in 1..2_000_usize) {
        let track = avc_track();
        let file = [&mp4::init_segment(&track, 7)[..], &write(&chunks)].concat();
        let mut want = vec![mp4::Event::Track { track_id: 7, track }];
        want.extend(chunks.into_iter().map(|samples| {
            mp4::Event::Chunk(mp4::Chunk { track_id: 7, base_dts: samples[0].dts as u64, samples })
        }));
        prop_assert_eq!(demuxed(&file, piece_bytes), want);
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..2_000)) {
        read_everything(data);
    }

    #[test]
    fn mutated_files_never_panic(
        chunks in chunks(),
        which in 0..8_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = [&mp4::init_segment(&tracks()[which], 7)[..], &write(&chunks)].concat();
        // Most of a file is payload; the changes go to its beginning, where the boxes are.
        let head = file.len().min(1_500);
        for (at, value) in changes {
            file[at.index(head)] = value;
        }
        file.truncate(cut.index(file.len()) + 1);
        read_everything(file);
    }
}

fn read_everything(data: Vec<u8>) {
    let mut demuxer = mp4::Demuxer::new();
    for piece in data.chunks(100) {
        if demuxer.push(piece).is_err() {
            break;
        }
        while demuxer.poll().is_some() {}
    }
    let _ = demuxer.finish();
    let data = Bytes::from(data);
    let _ = mp4::read_init(&data);
    let _ = mp4::read_chunks(&data);
}

/// A box of bytes that a test makes by hand.
fn mp4_box(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

#[test]
fn a_small_box_cannot_stand_for_many_samples() {
    const SAME_SIZE: u32 = 0x02_0010;
    let check = |samples: u32, runs: usize, size: u32| {
        let tfhd = mp4_box(b"tfhd", &words(&[SAME_SIZE, 1, size]));
        let trun = mp4_box(b"trun", &words(&[1, samples, 0]));
        let traf = mp4_box(b"traf", &[tfhd, trun.repeat(runs)].concat());
        let file = [mp4_box(b"moof", &traf), mp4_box(b"mdat", &[0; 64])].concat();
        let read = mp4::read_chunks(&file.into());
        assert!(matches!(read, Err(media::Error::TooLarge { .. } | media::Error::Truncated { .. })), "{read:?}");
    };
    check(u32::MAX, 1, 1);
    check(65_537, 1, 0);
    check(40_000, 2, 0);
    check(50, 1_000, 1);
    check(1, 1, u32::MAX);
}

#[test]
fn defaults_come_from_the_movie_and_times_go_on_without_tfdt() {
    let init = mp4::init_segment(&aac_track(), 1).to_vec();
    // trex is the last box: give it a duration of 1024 and a size of 3.
    let mut init = init;
    let at = init.len() - 12;
    init[at..at + 8].copy_from_slice(&words(&[1024, 3]));
    let traf =
        mp4_box(b"traf", &[mp4_box(b"tfhd", &words(&[0x02_0000, 1])), mp4_box(b"trun", &words(&[1, 2, 68]))].concat());
    let moof = mp4_box(b"moof", &traf);
    assert_eq!(moof.len() + 8, 68 - 8);
    let moof = mp4_box(b"moof", &[mp4_box(b"free", &[]), traf].concat());
    let fragment = [moof, mp4_box(b"mdat", b"onetwo")].concat();
    let file = [init, fragment.clone(), fragment].concat();
    let mut seen = Vec::new();
    for event in demuxed(&file, 50) {
        if let mp4::Event::Chunk(chunk) = event {
            seen.extend(chunk.samples.into_iter().map(|s| (s.dts, s.duration, s.payload)));
        }
    }
    let want = [(0, "one"), (1024, "two"), (2048, "one"), (3072, "two")];
    assert_eq!(seen, want.map(|(dts, text)| (dts, 1024, Bytes::from_static(text.as_bytes()))));
}

#[test]
fn edit_lists_shift_presentation() {
    let check = |entries: &[[u32; 3]], want: i64| {
        let track = aac_track();
        let elst = mp4_box(b"elst", &[words(&[0, entries.len() as u32]), words(&entries.concat())].concat());
        let init = with_edit_list(&mp4::init_segment(&track, 1), &mp4_box(b"edts", &elst));
        let sample =
            Sample { dts: 5_000, cts_offset: 0, duration: 1024, sync: true, payload: Bytes::from_static(b"frame") };
        let fragment = mp4::Fragment {
            sequence: 1,
            track_id: 1,
            base_dts: 5_000,
            samples: std::slice::from_ref(&sample),
            producer_reference: None,
            start_of_segment: false,
        };
        let events = demuxed(&[&init[..], &chunk_bytes(&fragment)].concat(), 1_000);
        let Some(mp4::Event::Chunk(chunk)) = events.last() else { panic!("{events:?}") };
        assert_eq!(chunk.samples[0].dts, want);
    };
    // 48,000 ticks a second in the movie header as in the track.
    check(&[[0, 1024, 0x1_0000]], 5_000 - 1024);
    check(&[[480, u32::MAX, 0x1_0000]], 5_480);
    check(&[[480, u32::MAX, 0x1_0000], [0, 1024, 0x1_0000]], 5_480 - 1024);
    check(&[], 5_000);
}

/// Puts a box at the end of `trak`, the sizes of its parents corrected.
fn with_edit_list(init: &[u8], edts: &[u8]) -> Vec<u8> {
    let mut out = init.to_vec();
    let find = |kind: &[u8]| init.windows(4).position(|w| w == kind).unwrap() - 4;
    let size = |at: usize| u32::from_be_bytes(init[at..at + 4].try_into().unwrap());
    let (moov, trak) = (find(b"moov"), find(b"trak"));
    for at in [moov, trak] {
        out[at..at + 4].copy_from_slice(&(size(at) + edts.len() as u32).to_be_bytes());
    }
    let end = trak + size(trak) as usize;
    out.splice(end..end, edts.iter().copied());
    out
}

/// x264's parameter sets for 1280x720.
const SPS_720P: &str = "6764001facd9405005bb016a02020280000003008000001e078c18cb";
const PPS_720P: &str = "68ebe3cb22c0";

/// NAL units behind lengths of this many bytes.
fn nal_units(length_bytes: usize, nals: &[&[u8]]) -> Bytes {
    let length = |nal: &[u8]| (nal.len() as u32).to_be_bytes()[4 - length_bytes..].to_vec();
    nals.iter().flat_map(|nal| [length(nal), nal.to_vec()].concat()).collect::<Vec<_>>().into()
}

fn one_chunk(payloads: &[Bytes]) -> Bytes {
    let sample =
        |payload: &Bytes| Sample { dts: 0, cts_offset: 0, duration: 3_000, sync: true, payload: payload.clone() };
    let samples: Vec<_> = payloads.iter().map(sample).collect();
    chunk_bytes(&mp4::Fragment {
        sequence: 1,
        track_id: 1,
        base_dts: 6_000,
        samples: &samples,
        producer_reference: None,
        start_of_segment: false,
    })
}

#[test]
fn parameter_sets_among_the_samples_are_a_new_configuration() {
    let (sps, pps, idr) = (hex(SPS_720P), hex(PPS_720P), [0x65, 1, 2]);
    let payloads = [nal_units(4, &[&idr]), nal_units(4, &[&[9, 0xF0], &sps, &pps, &idr]), nal_units(4, &[&idr])];
    let file = [&mp4::init_segment(&avc_track(), 1)[..], &one_chunk(&payloads)].concat();
    let events = demuxed(&file, 1_000);
    let [
        mp4::Event::Track { .. },
        mp4::Event::Chunk(before),
        mp4::Event::Track { track, .. },
        mp4::Event::Chunk(after),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    let picture = track.codec.video().unwrap();
    assert_eq!((picture.width, picture.height), (1280, 720));
    assert_eq!((before.base_dts, before.samples.len()), (6_000, 1));
    assert_eq!((after.base_dts, after.samples.len()), (9_000, 2));
    assert!(after.samples.iter().all(|s| s.payload == payloads[0]), "no delimiters, no parameter sets");
}

#[test]
fn lengths_of_two_bytes_become_four() {
    let mut init = mp4::init_segment(&avc_track(), 1).to_vec();
    let at = init.windows(4).position(|w| w == b"avcC").unwrap() + 4 + 4;
    assert_eq!(init[at], 0xFF);
    init[at] = 0xFD;
    let idr = [0x65, 1, 2];
    let events = demuxed(&[&init[..], &one_chunk(&[nal_units(2, &[&idr, &idr])])].concat(), 1_000);
    let [mp4::Event::Track { track, .. }, mp4::Event::Chunk(chunk)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(track, &avc_track());
    assert_eq!(chunk.samples[0].payload, nal_units(4, &[&idr, &idr]));
}
