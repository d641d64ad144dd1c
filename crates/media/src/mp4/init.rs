//! The CMAF header: `ftyp` and `moov` of one track (ISO/IEC 23000-19 7.3.1).

use base::Timescale;
use bytes::Bytes;

use super::boxes::{full_box, put_box};
use crate::{CodecConfig, Track, TrackKind};

/// ISO/IEC 14496-12 8.2.2.2: the identity transformation.
const UNITY_MATRIX: [u8; 36] = {
    let mut matrix = [0; 36];
    matrix[1] = 1; // a = 1.0 in 16.16
    matrix[17] = 1; // d = 1.0 in 16.16
    matrix[32] = 0x40; // w = 1.0 in 2.30
    matrix
};
/// ISO/IEC 14496-12 8.4.2.3: `und`, three letters of five bits each.
pub(super) const LANGUAGE_UND: u16 = 0x55C4;
/// 72 pixels per inch in 16.16, the value ISO/IEC 14496-12 12.1.3.2 prescribes.
const RESOLUTION_72_DPI: [u8; 4] = [0x00, 0x48, 0x00, 0x00];

/// The initialisation segment of one track: what EXT-X-MAP and a DASH Initialization name.
///
/// The track's samples then come in fragments with the same `track_id` and timescale; composition offsets are signed
/// (`trun` version 1), so there is no edit list. Nothing in it depends on time: equal configurations give equal bytes.
pub fn init_segment(track: &Track, track_id: u32) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    put_box(&mut out, b"ftyp", |b| put_brands(b, &track.codec));
    put_box(&mut out, b"moov", |b| {
        // The durations are zero: the fragments tell them.
        put_movie_header(b, track.timescale, 0, track_id.saturating_add(1));
        put_box(b, b"trak", |b| {
            put_track_header(b, track, track_id, 0);
            put_box(b, b"mdia", |b| put_media(b, track, LANGUAGE_UND, 0, |b| put_empty_sample_table(b, track)));
        });
        put_box(b, b"mvex", |b| put_track_extends(b, track_id));
    });
    out.into()
}

/// Major `iso6` for `default-base-is-moof`; `cmfc` promises CMAF (ISO/IEC 23000-19 7.2), `av01` is asked for by AV1 ISO
/// binding 2.1. Media profile brands are left out: they promise levels and colours that a live source does not keep.
fn put_brands(b: &mut Vec<u8>, codec: &CodecConfig) {
    b.extend_from_slice(b"iso6\0\0\0\0iso6cmfc");
    if matches!(codec, CodecConfig::Av1(_)) {
        b.extend_from_slice(b"av01");
    }
}

/// `mvhd`; the duration counts in `timescale`.
pub(super) fn put_movie_header(b: &mut Vec<u8>, timescale: Timescale, duration: u64, next_track_id: u32) {
    full_box(b, b"mvhd", version(duration), 0, |b| {
        put_times(b, duration);
        b.extend_from_slice(&timescale.get().to_be_bytes());
        put_duration(b, duration);
        b.extend_from_slice(&[0, 1, 0, 0, 1, 0]); // rate 1.0, volume 1.0
        b.extend_from_slice(&[0; 10]);
        b.extend_from_slice(&UNITY_MATRIX);
        b.extend_from_slice(&[0; 24]);
        b.extend_from_slice(&next_track_id.to_be_bytes());
    });
}

/// `tkhd`; the duration counts in the movie's timescale.
pub(super) fn put_track_header(b: &mut Vec<u8>, track: &Track, track_id: u32, duration: u64) {
    const ENABLED_IN_MOVIE: u32 = 3;
    full_box(b, b"tkhd", version(duration), ENABLED_IN_MOVIE, |b| {
        put_times(b, duration);
        b.extend_from_slice(&track_id.to_be_bytes());
        b.extend_from_slice(&[0; 4]);
        put_duration(b, duration);
        b.extend_from_slice(&[0; 8 + 2 + 2]); // reserved, layer, alternate_group
        let volume = if track.kind() == TrackKind::Audio { [1, 0] } else { [0, 0] };
        b.extend_from_slice(&volume);
        b.extend_from_slice(&[0; 2]);
        b.extend_from_slice(&UNITY_MATRIX);
        let (width, height) = track.codec.video().map_or((0, 0), |v| (pixels(v.width), pixels(v.height)));
        b.extend_from_slice(&(u32::from(width) << 16).to_be_bytes());
        b.extend_from_slice(&(u32::from(height) << 16).to_be_bytes());
    });
}

/// Version 1 has 64-bit times.
fn version(duration: u64) -> u8 {
    u8::from(u32::try_from(duration).is_err())
}

/// Creation and modification time: not told, so that equal contents are equal bytes.
fn put_times(b: &mut Vec<u8>, duration: u64) {
    b.extend_from_slice(if version(duration) == 1 { &[0; 16] } else { &[0; 8] });
}

fn put_duration(b: &mut Vec<u8>, duration: u64) {
    match u32::try_from(duration) {
        Ok(short) => b.extend_from_slice(&short.to_be_bytes()),
        Err(_) => b.extend_from_slice(&duration.to_be_bytes()),
    }
}

/// Sizes are 16 bits in `tkhd` and in sample entries.
fn pixels(size: u32) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

/// What is in `mdia`; the duration counts in the track's timescale, `table` appends what is in `stbl`.
pub(super) fn put_media(
    b: &mut Vec<u8>,
    track: &Track,
    language: u16,
    duration: u64,
    table: impl FnOnce(&mut Vec<u8>),
) {
    full_box(b, b"mdhd", version(duration), 0, |b| {
        put_times(b, duration);
        b.extend_from_slice(&track.timescale.get().to_be_bytes());
        put_duration(b, duration);
        b.extend_from_slice(&language.to_be_bytes());
        b.extend_from_slice(&[0; 2]);
    });
    let (handler, name): (&[u8; 4], &[u8]) = match track.kind() {
        TrackKind::Video => (b"vide", b"Video\0"),
        TrackKind::Audio => (b"soun", b"Sound\0"),
    };
    full_box(b, b"hdlr", 0, 0, |b| {
        b.extend_from_slice(&[0; 4]);
        b.extend_from_slice(handler);
        b.extend_from_slice(&[0; 12]);
        b.extend_from_slice(name);
    });
    put_box(b, b"minf", |b| {
        match track.kind() {
            TrackKind::Video => full_box(b, b"vmhd", 0, 1, |b| b.extend_from_slice(&[0; 8])),
            TrackKind::Audio => full_box(b, b"smhd", 0, 0, |b| b.extend_from_slice(&[0; 4])),
        }
        put_box(b, b"dinf", |b| {
            full_box(b, b"dref", 0, 0, |b| {
                b.extend_from_slice(&1u32.to_be_bytes());
                full_box(b, b"url ", 0, 1, |_| ()); // flag 1: the data is in this file
            });
        });
        put_box(b, b"stbl", table);
    });
}

/// `stsd` with the track's sample entry.
pub(super) fn put_sample_description(b: &mut Vec<u8>, track: &Track) {
    full_box(b, b"stsd", 0, 0, |b| {
        b.extend_from_slice(&1u32.to_be_bytes());
        put_sample_entry(b, track);
    });
}

fn put_empty_sample_table(b: &mut Vec<u8>, track: &Track) {
    put_sample_description(b, track);
    full_box(b, b"stts", 0, 0, |b| b.extend_from_slice(&[0; 4]));
    full_box(b, b"stsc", 0, 0, |b| b.extend_from_slice(&[0; 4]));
    full_box(b, b"stsz", 0, 0, |b| b.extend_from_slice(&[0; 8]));
    full_box(b, b"stco", 0, 0, |b| b.extend_from_slice(&[0; 4]));
}

fn put_track_extends(b: &mut Vec<u8>, track_id: u32) {
    full_box(b, b"trex", 0, 0, |b| {
        b.extend_from_slice(&track_id.to_be_bytes());
        b.extend_from_slice(&1u32.to_be_bytes()); // default_sample_description_index
        b.extend_from_slice(&[0; 12]); // every fragment tells its own defaults (ISO/IEC 23000-19 7.5.14)
    });
}

fn put_sample_entry(b: &mut Vec<u8>, track: &Track) {
    match &*track.codec {
        CodecConfig::Avc(c) => visual_entry(b, b"avc1", track, |b| put_record(b, b"avcC", &c.record)),
        CodecConfig::Hevc(c) => visual_entry(b, b"hvc1", track, |b| put_record(b, b"hvcC", &c.record)),
        CodecConfig::Av1(c) => visual_entry(b, b"av01", track, |b| put_record(b, b"av1C", &c.record)),
        CodecConfig::Vp9(c) => {
            visual_entry(b, b"vp09", track, |b| full_box(b, b"vpcC", 1, 0, |b| b.extend_from_slice(&c.record)));
        }
        CodecConfig::Aac(c) => {
            audio_entry(b, b"mp4a", track, |b| full_box(b, b"esds", 0, 0, |b| put_esds(b, &c.record)))
        }
        CodecConfig::Opus(c) => audio_entry(b, b"Opus", track, |b| put_record(b, b"dOps", &c.dops())),
        CodecConfig::Ac3(c) if c.enhanced => audio_entry(b, b"ec-3", track, |b| put_record(b, b"dec3", &c.record)),
        CodecConfig::Ac3(c) => audio_entry(b, b"ac-3", track, |b| put_record(b, b"dac3", &c.record)),
    }
}

fn put_record(b: &mut Vec<u8>, kind: &[u8; 4], record: &[u8]) {
    put_box(b, kind, |b| b.extend_from_slice(record));
}

/// VisualSampleEntry (ISO/IEC 14496-12 12.1.3).
fn visual_entry(b: &mut Vec<u8>, kind: &[u8; 4], track: &Track, config: impl FnOnce(&mut Vec<u8>)) {
    let (width, height) = track.codec.video().map_or((0, 0), |v| (pixels(v.width), pixels(v.height)));
    put_box(b, kind, |b| {
        b.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]); // data_reference_index 1
        b.extend_from_slice(&[0; 16]);
        b.extend_from_slice(&width.to_be_bytes());
        b.extend_from_slice(&height.to_be_bytes());
        b.extend_from_slice(&RESOLUTION_72_DPI);
        b.extend_from_slice(&RESOLUTION_72_DPI);
        b.extend_from_slice(&[0, 0, 0, 0, 0, 1]); // frame_count 1
        b.extend_from_slice(&[0; 32]); // compressorname
        b.extend_from_slice(&[0, 0x18, 0xFF, 0xFF]); // depth 24, pre_defined -1
        config(b);
    });
}

/// AudioSampleEntry (ISO/IEC 14496-12 12.2.3). A rate over 16 bits is written as zero; the configuration tells it.
fn audio_entry(b: &mut Vec<u8>, kind: &[u8; 4], track: &Track, config: impl FnOnce(&mut Vec<u8>)) {
    let (channels, rate) = track.codec.audio().map_or((0, 0), |a| (pixels(a.channels), a.sample_rate));
    put_box(b, kind, |b| {
        b.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        b.extend_from_slice(&[0; 8]);
        b.extend_from_slice(&channels.to_be_bytes());
        b.extend_from_slice(&[0, 16, 0, 0, 0, 0]); // samplesize 16, pre_defined, reserved
        b.extend_from_slice(&u16::try_from(rate).unwrap_or(0).to_be_bytes());
        b.extend_from_slice(&[0; 2]);
        config(b);
    });
}

/// The ES_Descriptor of an AudioSpecificConfig (ISO/IEC 14496-1 7.2.6.5, 14496-14 3.1.2).
fn put_esds(b: &mut Vec<u8>, audio_specific_config: &[u8]) {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC_INFO: u8 = 5;
    const SL_CONFIG: u8 = 6;
    descriptor(b, ES, |b| {
        b.extend_from_slice(&[0; 3]); // ES_ID 0, no flags
        descriptor(b, DECODER_CONFIG, |b| {
            b.extend_from_slice(&[0x40, 0x15]); // MPEG-4 audio; AudioStream
            b.extend_from_slice(&[0; 3 + 4 + 4]); // bufferSizeDB, maxBitrate, avgBitrate: unknown
            descriptor(b, DECODER_SPECIFIC_INFO, |b| b.extend_from_slice(audio_specific_config));
        });
        descriptor(b, SL_CONFIG, |b| b.push(2)); // reserved for use in MP4 files
    });
}

/// A descriptor with its length in base-128 groups (ISO/IEC 14496-1 8.3.3).
fn descriptor(b: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::with_capacity(64);
    body(&mut content);
    b.push(tag);
    for group in [21, 14, 7] {
        if content.len() >> group > 0 {
            b.push((content.len() >> group) as u8 | 0x80);
        }
    }
    b.push(content.len() as u8 & 0x7F);
    b.extend_from_slice(&content);
}
