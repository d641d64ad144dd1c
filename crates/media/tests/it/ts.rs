//! Transport streams written and read again, and transport streams that nobody wrote.

use std::collections::BTreeMap;

use base::{Timescale, time::rescale};
use bytes::Bytes;
use media::{CodecConfig, Error, Sample, Track, codec::opus, ts};
use proptest::prelude::*;

use crate::mp4::{aac_track, avc_track, hevc_track, slice_nal};

/// An HEVC slice NAL unit behind its length.
fn hevc_nal(sync: bool, bytes: usize) -> Bytes {
    let bytes = bytes.max(3);
    let mut payload = (bytes as u32).to_be_bytes().to_vec();
    payload.extend_from_slice(&[if sync { 19 << 1 } else { 1 << 1 }, 1]);
    payload.extend((2..bytes).map(|i| (i % 251) as u8 | 0x80));
    payload.into()
}

/// Frames in decoding order, the first one sync.
fn video(hevc: bool) -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec((1_500..4_000_u32, 0..9_000_i32, any::<bool>(), 2..4_000_usize), 1..40).prop_map(
        move |fields| {
            let mut dts = 0;
            let mut next = |duration: u32| {
                dts += i64::from(duration);
                dts - i64::from(duration)
            };
            let sample = |(i, (duration, cts_offset, sync, bytes)): (usize, (u32, i32, bool, usize))| {
                let sync = sync || i == 0;
                let payload = if hevc { hevc_nal(sync, bytes) } else { slice_nal(sync, bytes) };
                Sample { dts: next(duration), cts_offset, duration, sync, payload }
            };
            fields.into_iter().enumerate().map(sample).collect()
        },
    )
}

fn audio() -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec(1..700_usize, 1..120).prop_map(|sizes| {
        let frame = |(i, bytes): (usize, usize)| Sample {
            dts: i as i64 * 1024,
            cts_offset: 0,
            duration: 1024,
            sync: true,
            payload: vec![i as u8; bytes].into(),
        };
        sizes.into_iter().enumerate().map(frame).collect()
    })
}

/// Samples and tracks by PID.
fn demuxed(data: &[u8], piece_bytes: usize) -> (BTreeMap<u16, Vec<Sample>>, BTreeMap<u16, Track>, ts::Stats) {
    let mut demuxer = ts::Demuxer::new();
    let (mut samples, mut tracks) = (BTreeMap::<u16, Vec<Sample>>::new(), BTreeMap::new());
    let mut take = |demuxer: &mut ts::Demuxer| {
        while let Some(event) = demuxer.poll() {
            match event {
                ts::Event::Program(_) => {}
                ts::Event::Track { pid, track } => {
                    tracks.insert(pid, track);
                }
                ts::Event::Sample { pid, sample } => samples.entry(pid).or_default().push(sample),
            }
        }
    };
    for piece in data.chunks(piece_bytes) {
        demuxer.push(piece);
        take(&mut demuxer);
    }
    demuxer.finish();
    take(&mut demuxer);
    (samples, tracks, demuxer.stats())
}

/// What is on the wire: times with the offset, a video's duration not told.
fn on_the_wire(samples: &[Sample], timescale: Timescale, video: bool) -> Vec<Sample> {
    let offset = rescale(ts::CLOCK_OFFSET, Timescale::VIDEO, timescale);
    let mut samples = samples.to_vec();
    for sample in &mut samples {
        sample.dts += offset;
        if video {
            sample.duration = 0;
        }
    }
    samples
}

/// Packets with payload by PID, and the rules every packet keeps: counters, PCR at most 100 ms apart and behind DTS.
fn check_packets(data: &[u8]) -> BTreeMap<u16, usize> {
    assert_eq!(data.len() % ts::PACKET_BYTES, 0);
    let mut counts = BTreeMap::<u16, usize>::new();
    let mut last_pcr: Option<u64> = None;
    for packet in data.chunks(ts::PACKET_BYTES) {
        assert_eq!(packet[0], 0x47);
        let pid = u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
        let has_payload = packet[3] & 0x10 != 0;
        let count = counts.entry(pid).or_default();
        let expected = if has_payload { *count % 16 } else { (*count + 15) % 16 };
        assert_eq!(usize::from(packet[3] & 0x0F), expected, "continuity counter of {pid:#x}");
        *count += usize::from(has_payload);
        if packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x10 != 0 {
            let pcr = packet[6..11].iter().fold(0, |base, &b| base << 8 | u64::from(b)) >> 7;
            assert!(last_pcr.is_none_or(|last| (last..=last + 9_000).contains(&pcr)), "{last_pcr:?} then {pcr}");
            last_pcr = Some(pcr);
        }
    }
    assert!(counts.values().all(|count| count % 16 == 0), "{counts:?}");
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn h264_and_aac_read_as_written(video in video(false), audio in audio(), piece_bytes in 1..5_000_usize) {
        let (avc, aac) = (avc_track(), aac_track());
        let data = ts::segment(Some((&avc, &video)), Some((&aac, &audio)), &ts::Options::default()).unwrap();
        check_packets(&data);
        let (samples, tracks, stats) = demuxed(&data, piece_bytes);
        let want = ts::Stats { packets: stats.packets, ..ts::Stats::default() };
        prop_assert_eq!(stats, want);
        prop_assert_eq!(&samples[&0x100], &on_the_wire(&video, avc.timescale, true));
        prop_assert_eq!(&samples[&0x101], &on_the_wire(&audio, aac.timescale, false));
        prop_assert_eq!(&tracks[&0x101], &aac);
        let (CodecConfig::Avc(read), CodecConfig::Avc(sent)) = (&*tracks[&0x100].codec, &*avc.codec) else { panic!("AVC") };
        prop_assert_eq!((&read.sps, &read.pps), (&sent.sps, &sent.pps));
    }

    #[test]
    fn h265_reads_as_written(video in video(true)) {
        let hevc = hevc_track();
        let data = ts::segment(Some((&hevc, &video)), None, &ts::Options::default()).unwrap();
        check_packets(&data);
        let (samples, _, stats) = demuxed(&data, 4_096);
        prop_assert_eq!(stats.broken_units, 0);
        prop_assert_eq!(&samples[&0x100], &on_the_wire(&video, hevc.timescale, true));
    }

    #[test]
    fn aac_alone_reads_as_written(audio in audio(), audio_pes_ms in 0..300_u32) {
        let aac = aac_track();
        let data = ts::segment(None, Some((&aac, &audio)), &ts::Options { audio_pes_ms, ..Default::default() }).unwrap();
        check_packets(&data);
        let (samples, _, _) = demuxed(&data, 4_096);
        prop_assert_eq!(&samples[&0x101], &on_the_wire(&audio, aac.timescale, false));
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..4_000)) {
        demuxed(&data, 1_000);
    }

    #[test]
    fn arbitrary_packets_never_panic(packets in prop::collection::vec((0..4_u8, any::<[u8; 32]>()), 0..40)) {
        let mut data = Vec::new();
        for (pid, bytes) in packets {
            let high = if pid == 1 { 0x10 } else { bytes[0] & 0x40 | u8::from(pid > 1) };
            let mut packet = vec![0x47, high | bytes[1] & 0x40, if pid > 1 { pid - 2 } else { 0 }];
            packet.extend(bytes.iter().cycle().take(185));
            data.extend(packet);
        }
        demuxed(&data, 1_000);
    }

    #[test]
    fn damaged_segments_never_panic(
        video in video(false),
        audio in audio(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        lost in any::<prop::sample::Index>(),
        lost_bytes in 0..400_usize,
    ) {
        let data = ts::segment(Some((&avc_track(), &video)), Some((&aac_track(), &audio)), &ts::Options::default());
        let mut data = data.unwrap().to_vec();
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        let at = lost.index(data.len());
        data.drain(at..(at + lost_bytes).min(data.len()));
        demuxed(&data, 1_000);
    }
}

#[test]
fn any_two_segments_may_follow_one_another() {
    let (avc, aac) = (avc_track(), aac_track());
    let frame = |i: i64| Sample {
        dts: i * 3_000,
        cts_offset: 0,
        duration: 3_000,
        sync: i == 0,
        payload: slice_nal(i == 0, 700),
    };
    let sound =
        |i: i64| Sample { dts: i * 1024, cts_offset: 0, duration: 1024, sync: true, payload: vec![1; 200].into() };
    let write = |frames: i64, sounds: i64| {
        let (video, audio): (Vec<_>, Vec<_>) = ((0..frames).map(frame).collect(), (0..sounds).map(sound).collect());
        ts::segment(Some((&avc, &video)), Some((&aac, &audio)), &ts::Options::default()).unwrap()
    };
    for (frames, sounds) in [(60, 94), (1, 1), (0, 1), (1, 0), (0, 0), (33, 2)] {
        let counts = check_packets(&write(frames, sounds));
        assert_eq!((counts[&0], counts[&0x1000]), (16, 16));
        let both = [write(frames, sounds), write(3, 3)].concat();
        assert_eq!(demuxed(&both, 1_000).2.continuity_errors, 0);
    }
}

#[test]
fn padding_costs_at_most_fifteen_packets_a_pid() {
    let aac = aac_track();
    for bytes in 1..400 {
        let frame = Sample { dts: 0, cts_offset: 0, duration: 1024, sync: true, payload: vec![7; bytes].into() };
        let data = ts::segment(None, Some((&aac, std::slice::from_ref(&frame))), &ts::Options::default()).unwrap();
        assert_eq!(check_packets(&data)[&0x101], 16);
        assert_eq!(demuxed(&data, 188).0[&0x101][0].payload, frame.payload);
    }
}

#[test]
fn times_before_zero_and_past_the_wrap_go_on() {
    let avc = avc_track();
    let check = |start: i64| {
        let frame = |i: i64| Sample {
            dts: start + i * 3_000,
            cts_offset: 6_000,
            duration: 3_000,
            sync: i == 0,
            payload: slice_nal(i == 0, 100),
        };
        let video: Vec<_> = (0..60).map(frame).collect();
        let data = ts::segment(Some((&avc, &video)), None, &ts::Options::default()).unwrap();
        let seen = &demuxed(&data, 1_000).0[&0x100];
        let first = (start + ts::CLOCK_OFFSET).rem_euclid(1 << 33);
        let times: Vec<_> = seen.iter().map(|s| (s.dts, s.cts_offset)).collect();
        assert_eq!(times, (0..60).map(|i| (first + i * 3_000, 6_000)).collect::<Vec<_>>());
    };
    check(-90_000);
    check((1 << 33) - ts::CLOCK_OFFSET - 90_000);
    check((1 << 33) * 5);
}

#[test]
fn negative_composition_offsets_move_decoding_times_earlier() {
    let avc = avc_track();
    let offsets = [0, 6_000, -3_000, -3_000];
    let frame = |i: usize| Sample {
        dts: i as i64 * 3_000,
        cts_offset: offsets[i],
        duration: 3_000,
        sync: i == 0,
        payload: slice_nal(i == 0, 100),
    };
    let video: Vec<_> = (0..4).map(frame).collect();
    let check = |dts_lead, first| {
        let data = ts::segment(Some((&avc, &video)), None, &ts::Options { dts_lead, ..Default::default() }).unwrap();
        let seen = &demuxed(&data, 1_000).0[&0x100];
        for (i, (seen, sent)) in seen.iter().zip(&video).enumerate() {
            assert_eq!(seen.pts(), sent.pts() + ts::CLOCK_OFFSET);
            assert_eq!(seen.dts, ts::CLOCK_OFFSET + first + i as i64 * 3_000);
            assert!(seen.cts_offset >= 0);
        }
    };
    check(0, -3_001);
    check(6_000, -6_000);
}

#[test]
fn what_a_transport_stream_cannot_carry_is_refused() {
    let opus =
        opus::Config { channels: 2, pre_skip: 312, input_sample_rate: 48_000, output_gain: 0, mapping_family: 0 };
    let (opus, avc, aac) = (Track::new(CodecConfig::Opus(opus)), avc_track(), aac_track());
    let write = |video: Option<&Track>, audio: Option<&Track>, samples: &[Sample]| {
        ts::segment(video.map(|t| (t, samples)), audio.map(|t| (t, samples)), &ts::Options::default())
    };
    let sample = |payload: Vec<u8>| Sample { dts: 0, cts_offset: 0, duration: 1, sync: true, payload: payload.into() };
    assert!(matches!(write(None, Some(&opus), &[]), Err(Error::Unsupported(_))));
    assert!(matches!(write(None, None, &[]), Err(Error::Invalid { .. })));
    assert!(matches!(write(Some(&aac), None, &[]), Err(Error::Invalid { .. })));
    assert!(matches!(write(Some(&avc), None, &[sample(vec![0, 0, 0, 9, 1])]), Err(Error::Truncated { .. })));
    assert!(matches!(write(None, Some(&aac), &[sample(vec![0; 9_000])]), Err(Error::TooLarge { .. })));
}

#[test]
fn reading_begins_in_the_middle_of_a_stream() {
    let aac = aac_track();
    let frames: Vec<_> = (0..100)
        .map(|i| Sample {
            dts: i * 1024,
            cts_offset: 0,
            duration: 1024,
            sync: true,
            payload: vec![i as u8; 300].into(),
        })
        .collect();
    let data = ts::segment(None, Some((&aac, &frames)), &ts::Options::default()).unwrap();
    let twice = [&data[data.len() / 2 + 77..], &data[..]].concat();
    let (samples, _, stats) = demuxed(&twice, 333);
    assert!(stats.skipped_bytes > 0 && stats.skipped_bytes < 188);
    assert!(samples[&0x101].len() >= 100);
}

#[test]
fn a_lost_packet_costs_its_frames_only() {
    let avc = avc_track();
    let frame = |i: i64| Sample {
        dts: i * 3_000,
        cts_offset: 0,
        duration: 3_000,
        sync: i == 0,
        payload: slice_nal(i == 0, 700),
    };
    let video: Vec<_> = (0..30).map(frame).collect();
    let data = ts::segment(Some((&avc, &video)), None, &ts::Options::default()).unwrap();
    let lost = data.chunks(188).position(|p| p[1] == 0x01 && p[2] == 0 && p[3] & 0x0F == 9).unwrap();
    let data = [&data[..lost * 188], &data[(lost + 1) * 188..]].concat();
    let (samples, _, stats) = demuxed(&data, 1_000);
    assert_eq!((stats.continuity_errors, samples[&0x100].len()), (1, 29));
}

#[test]
fn times_far_from_everything_never_panic() {
    let (avc, aac) = (avc_track(), aac_track());
    let at =
        |dts: i64| Sample { dts, cts_offset: i32::MIN, duration: u32::MAX, sync: true, payload: slice_nal(true, 9) };
    let samples: Vec<_> = [1 << 62, -(1 << 62), 0, 1 << 57, 5].map(at).into();
    let data = ts::segment(Some((&avc, &samples)), Some((&aac, &samples)), &ts::Options::default()).unwrap();
    demuxed(&data, 1_000);
}

#[test]
fn a_new_configuration_is_told_before_its_samples() {
    let mono = Track::new(CodecConfig::Aac(media::codec::aac::Config::from_record(&[0x11, 0x88]).unwrap()));
    let frame =
        |i: i64| Sample { dts: i * 1024, cts_offset: 0, duration: 1024, sync: true, payload: vec![1; 50].into() };
    let frames = [frame(0), frame(1)];
    let write = |track: &Track| ts::segment(None, Some((track, &frames)), &ts::Options::default()).unwrap();
    let mut demuxer = ts::Demuxer::new();
    demuxer.push(&[write(&aac_track()), write(&mono)].concat());
    demuxer.finish();
    let events = std::iter::from_fn(|| demuxer.poll());
    let told: Vec<_> = events
        .filter_map(|event| match event {
            ts::Event::Program(_) => None,
            ts::Event::Track { track, .. } => Some(track.codec.audio().map(|a| a.channels)),
            ts::Event::Sample { .. } => Some(None),
        })
        .collect();
    assert_eq!(told, [Some(2), None, None, Some(1), None, None]);
}
