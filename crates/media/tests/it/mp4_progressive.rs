//! Classic MP4 written from samples, and read by FFmpeg and by ourselves.

use bytes::Bytes;
use media::{Sample, mp4};

use crate::mp4_sources::{Demuxed, PICTURE, SOUND, TempFile, complaints, demux, fragment_per_keyframe, packets};

const H264: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "3", "-pix_fmt", "yuv420p"];

/// The samples in chunks of this many, each track with its reordering and priming cut off at time zero.
fn write(tracks: &[Demuxed], per_chunk: usize) -> Vec<u8> {
    let samples: Vec<Vec<Sample>> = tracks.iter().map(Demuxed::samples).collect();
    let tables: Vec<mp4::SampleTable> = samples.iter().map(|samples| table(samples, per_chunk)).collect();
    let parts: Vec<mp4::ProgressiveTrack> = tracks
        .iter()
        .zip(&tables)
        .zip(&samples)
        .map(|((track, table), samples)| mp4::ProgressiveTrack {
            track: &track.track,
            table,
            delay: 0,
            media_time: u64::try_from(-samples[0].dts).unwrap(),
            language: Some(*b"eng"),
        })
        .collect();
    // One chunk of each track in turn.
    let mut order: Vec<(usize, usize)> =
        tables.iter().enumerate().flat_map(|(track, table)| (0..table.chunks()).map(move |n| (n, track))).collect();
    order.sort_unstable();
    let order: Vec<usize> = order.into_iter().map(|(_, track)| track).collect();
    let mut file = mp4::progressive_head(&parts, &order).unwrap().to_vec();
    let mut next = vec![0; tables.len()];
    for track in order {
        for sample in samples[track].iter().skip(next[track]).take(per_chunk) {
            file.extend_from_slice(&sample.payload);
        }
        next[track] += per_chunk;
    }
    file
}

fn table(samples: &[Sample], per_chunk: usize) -> mp4::SampleTable {
    let mut table = mp4::SampleTable::new();
    for (n, sample) in samples.iter().enumerate() {
        let Sample { duration, cts_offset, sync, .. } = *sample;
        let bytes = sample.payload.len() as u32;
        table.push(mp4::TableSample { duration, cts_offset, bytes, sync }).unwrap();
        if (n + 1) % per_chunk == 0 {
            table.end_chunk();
        }
    }
    table.end_chunk();
    table
}

#[test]
fn pictures_with_b_frames_and_primed_sound() {
    let source = fragment_per_keyframe(&[PICTURE, SOUND].concat(), &[H264, &["-c:a", "aac"]].concat());
    let tracks = demux(&source, 10_000);
    for per_chunk in [7, 1_000] {
        let written = write(&tracks, per_chunk);
        let file = TempFile::new("mp4", &[&written]);
        for (track, stream) in tracks.iter().zip(["v:0", "a:0"]) {
            // Except for what the edit list cuts off, which ffprobe marks `D`.
            let want = track.samples().into_iter().map(|sample| {
                let flags =
                    format!("{}{}", if sample.sync { "K" } else { "_" }, if sample.pts() < 0 { "D" } else { "_" });
                format!("{},{},{},{flags}", sample.pts(), sample.dts, sample.payload.len())
            });
            assert_eq!(packets(&file, stream), want.collect::<Vec<_>>());
        }
        assert_eq!(complaints("warning", &file), "");
        let read = mp4::read_init(&Bytes::from(written)).unwrap();
        let want: Vec<_> = tracks.iter().zip(1..).map(|(track, id)| (id, track.track.clone())).collect();
        assert_eq!(read, want);
    }
}

#[test]
fn negative_composition_offsets_are_version_1() {
    let source = fragment_per_keyframe(PICTURE, H264);
    let mut tracks = demux(&source, 10_000);
    for sample in tracks.iter_mut().flat_map(|track| &mut track.chunks).flat_map(|chunk| &mut chunk.samples) {
        (sample.dts, sample.cts_offset) = (sample.dts + 1_024, sample.cts_offset - 1_024);
    }
    let written = write(&tracks, 25);
    let ctts = written.windows(4).position(|window| window == b"ctts").unwrap();
    assert_eq!(written[ctts + 4], 1);
    let shown = |packets: Vec<String>| {
        let mut shown: Vec<i64> = packets.iter().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
        shown.sort_unstable();
        shown
    };
    assert_eq!(
        shown(packets(&TempFile::new("mp4", &[&written]), "v:0")),
        (0..75).map(|n| n * 512).collect::<Vec<i64>>()
    );
}
