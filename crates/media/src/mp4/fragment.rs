//! The head of a CMAF chunk: everything before the samples' bytes (ISO/IEC 23000-19 7.3.3).

use bytes::Bytes;

use crate::Sample;

/// One chunk to write: consecutive samples of one track.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// `mfhd` sequence_number: counts up by any step.
    pub sequence: u32,
    /// As in the initialisation segment.
    pub track_id: u32,
    /// `tfdt` baseMediaDecodeTime: the first sample's decoding time on the written timeline, in ticks of the track. The
    /// following samples' times are told by the durations; their own `dts` is not looked at.
    pub base_dts: u64,
    /// In decoding order, each with its duration.
    pub samples: &'a [Sample],
    /// `prft`: an NTP time (32.32 bits since 1900) and the media time, in ticks, captured then.
    pub producer_reference: Option<(u64, u64)>,
    /// Writes an `styp` first. Never needed by HLS; ISO/IEC 23009-1 6.3.4.2 recommends it for the first chunk of a DASH
    /// segment. This platform's parts and segments are the same bytes and go without.
    pub start_of_segment: bool,
}

/// sample_depends_on 2, a sync sample (ISO/IEC 14496-12 8.8.3.1).
const FLAGS_SYNC: u32 = 0x0200_0000;
/// sample_depends_on 1, sample_is_non_sync_sample.
const FLAGS_NON_SYNC: u32 = 0x0101_0000;

const STYP: &[u8; 20] = b"\0\0\0\x14styp\0\0\0\0msdhcmfs";
const STYP_BYTES: usize = STYP.len();
const PRFT_BYTES: usize = 32;
const MFHD_BYTES: usize = 16;
const TFDT_BYTES: usize = 20;
const MDAT_HEADER_BYTES: usize = 8;

const TFHD_DEFAULT_DURATION: u32 = 0x08;
const TFHD_DEFAULT_SIZE: u32 = 0x10;
const TFHD_DEFAULT_FLAGS: u32 = 0x20;
const TFHD_DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;

const TRUN_DATA_OFFSET: u32 = 0x001;
const TRUN_FIRST_FLAGS: u32 = 0x004;
const TRUN_DURATION: u32 = 0x100;
const TRUN_SIZE: u32 = 0x200;
const TRUN_FLAGS: u32 = 0x400;
const TRUN_COMPOSITION_OFFSET: u32 = 0x800;

/// Everything of a chunk before its samples' bytes: `styp` and `prft` when asked for, `moof`, and the header of `mdat`.
///
/// The samples' payloads, one behind another, complete it.
///
/// # Panics
/// When the payloads come to 4 GiB: samples are bounded where they enter the platform.
pub fn fragment_header(f: &Fragment) -> Bytes {
    let plan = Plan::new(f);
    let mut out = Vec::with_capacity(plan.head_bytes);
    if f.start_of_segment {
        out.extend_from_slice(STYP);
    }
    if let Some((ntp, media_time)) = f.producer_reference {
        put_producer_reference(&mut out, f.track_id, ntp, media_time);
    }
    plan.put_moof(&mut out, f);
    let mdat_bytes = u32::try_from(plan.payload_bytes + MDAT_HEADER_BYTES).expect("invariant: a chunk is below 4 GiB");
    out.extend_from_slice(&mdat_bytes.to_be_bytes());
    out.extend_from_slice(b"mdat");
    debug_assert_eq!(out.len(), plan.head_bytes);
    out.into()
}

/// Bytes of the whole chunk: the header of [`fragment_header`] and the payloads.
pub fn chunk_len(f: &Fragment) -> usize {
    let plan = Plan::new(f);
    plan.head_bytes + plan.payload_bytes
}

/// What the samples have in common, found in one pass, and the sizes that follow.
struct Plan {
    tfhd_flags: u32,
    trun_flags: u32,
    default_flags: u32,
    sample_bytes: usize,
    moof_bytes: usize,
    head_bytes: usize,
    payload_bytes: usize,
}

impl Plan {
    fn new(f: &Fragment) -> Self {
        let same = Same::of(f.samples);
        let mut tfhd_flags = TFHD_DEFAULT_BASE_IS_MOOF;
        let mut trun_flags = TRUN_DATA_OFFSET;
        let mut put = |default: bool, in_tfhd: u32, in_trun: u32| {
            if default { tfhd_flags |= in_tfhd } else { trun_flags |= in_trun }
        };
        put(same.duration, TFHD_DEFAULT_DURATION, TRUN_DURATION);
        put(same.size, TFHD_DEFAULT_SIZE, TRUN_SIZE);
        put(same.sync_after_first, TFHD_DEFAULT_FLAGS, TRUN_FLAGS);
        if same.sync_after_first && !same.sync {
            trun_flags |= TRUN_FIRST_FLAGS;
        }
        if !same.no_offsets {
            trun_flags |= TRUN_COMPOSITION_OFFSET;
        }
        let default_from = f.samples.get(1).or(f.samples.first());
        let sample_bytes = 4 * (trun_flags >> 8).count_ones() as usize;
        let mut plan = Self {
            tfhd_flags,
            trun_flags,
            default_flags: default_from.map_or(FLAGS_SYNC, flags),
            sample_bytes,
            moof_bytes: 0,
            head_bytes: 0,
            payload_bytes: same.payload_bytes,
        };
        plan.moof_bytes = 8 + MFHD_BYTES + plan.traf_bytes(f.samples.len());
        let styp_bytes = if f.start_of_segment { STYP_BYTES } else { 0 };
        let prft_bytes = if f.producer_reference.is_some() { PRFT_BYTES } else { 0 };
        plan.head_bytes = styp_bytes + prft_bytes + plan.moof_bytes + MDAT_HEADER_BYTES;
        plan
    }

    fn traf_bytes(&self, samples: usize) -> usize {
        8 + self.tfhd_bytes() + TFDT_BYTES + self.trun_bytes(samples)
    }

    fn tfhd_bytes(&self) -> usize {
        16 + 4 * (self.tfhd_flags & 0xFF).count_ones() as usize
    }

    fn trun_bytes(&self, samples: usize) -> usize {
        16 + 4 * (self.trun_flags & 0xFF).count_ones() as usize + self.sample_bytes * samples
    }

    fn put_moof(&self, out: &mut Vec<u8>, f: &Fragment) {
        put_header(out, self.moof_bytes, b"moof");
        put_header(out, MFHD_BYTES, b"mfhd");
        put_u32s(out, [0, f.sequence]);
        put_header(out, self.traf_bytes(f.samples.len()), b"traf");
        self.put_tfhd(out, f);
        put_header(out, TFDT_BYTES, b"tfdt");
        put_u32s(out, [1 << 24, (f.base_dts >> 32) as u32, f.base_dts as u32]);
        self.put_trun(out, f.samples);
    }

    fn put_tfhd(&self, out: &mut Vec<u8>, f: &Fragment) {
        let first = f.samples.first();
        put_header(out, self.tfhd_bytes(), b"tfhd");
        put_u32s(out, [self.tfhd_flags, f.track_id]);
        if self.tfhd_flags & TFHD_DEFAULT_DURATION != 0 {
            put_u32s(out, [first.map_or(0, |s| s.duration)]);
        }
        if self.tfhd_flags & TFHD_DEFAULT_SIZE != 0 {
            put_u32s(out, [first.map_or(0, |s| s.payload.len() as u32)]);
        }
        if self.tfhd_flags & TFHD_DEFAULT_FLAGS != 0 {
            put_u32s(out, [self.default_flags]);
        }
    }

    fn put_trun(&self, out: &mut Vec<u8>, samples: &[Sample]) {
        put_header(out, self.trun_bytes(samples.len()), b"trun");
        let data_offset = (self.moof_bytes + MDAT_HEADER_BYTES) as u32;
        put_u32s(out, [1 << 24 | self.trun_flags, samples.len() as u32, data_offset]);
        if self.trun_flags & TRUN_FIRST_FLAGS != 0 {
            put_u32s(out, [samples.first().map_or(0, flags)]);
        }
        for sample in samples {
            self.put_sample(out, sample);
        }
    }

    /// The fields of one sample, gathered on the stack and appended once.
    fn put_sample(&self, out: &mut Vec<u8>, s: &Sample) {
        let mut fields = [0; 16];
        let mut at = 0;
        let mut put = |flag: u32, value: u32| {
            if self.trun_flags & flag != 0 {
                fields[at..at + 4].copy_from_slice(&value.to_be_bytes());
                at += 4;
            }
        };
        put(TRUN_DURATION, s.duration);
        put(TRUN_SIZE, s.payload.len() as u32);
        put(TRUN_FLAGS, flags(s));
        put(TRUN_COMPOSITION_OFFSET, s.cts_offset as u32);
        out.extend_from_slice(&fields[..at]);
    }
}

/// Which fields need no place per sample.
struct Same {
    duration: bool,
    size: bool,
    sync: bool,
    sync_after_first: bool,
    no_offsets: bool,
    payload_bytes: usize,
}

impl Same {
    fn of(samples: &[Sample]) -> Self {
        let (mut duration, mut size, mut sync, mut sync_after_first, mut no_offsets) = (true, true, true, true, true);
        let mut payload_bytes = 0;
        let Some(first) = samples.first() else {
            return Self { duration, size, sync, sync_after_first, no_offsets, payload_bytes };
        };
        let second = samples.get(1).unwrap_or(first);
        for (i, s) in samples.iter().enumerate() {
            duration &= s.duration == first.duration;
            size &= s.payload.len() == first.payload.len();
            sync &= s.sync == first.sync;
            sync_after_first &= i == 0 || s.sync == second.sync;
            no_offsets &= s.cts_offset == 0;
            payload_bytes += s.payload.len();
        }
        Self { duration, size, sync, sync_after_first, no_offsets, payload_bytes }
    }
}

fn flags(s: &Sample) -> u32 {
    if s.sync { FLAGS_SYNC } else { FLAGS_NON_SYNC }
}

/// ProducerReferenceTimeBox version 1 (ISO/IEC 14496-12 8.16.5); flags 24: a constant offset from the capture.
fn put_producer_reference(out: &mut Vec<u8>, track_id: u32, ntp: u64, media_time: u64) {
    const VERSION_1_CAPTURED: u32 = 1 << 24 | 24;
    put_header(out, PRFT_BYTES, b"prft");
    put_u32s(out, [VERSION_1_CAPTURED, track_id]);
    out.extend_from_slice(&ntp.to_be_bytes());
    out.extend_from_slice(&media_time.to_be_bytes());
}

fn put_header(out: &mut Vec<u8>, size: usize, kind: &[u8; 4]) {
    out.extend_from_slice(&(size as u32).to_be_bytes());
    out.extend_from_slice(kind);
}

fn put_u32s<const N: usize>(out: &mut Vec<u8>, values: [u32; N]) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(duration: u32, cts_offset: i32, sync: bool, bytes: usize) -> Sample {
        Sample { dts: 0, cts_offset, duration, sync, payload: vec![0; bytes].into() }
    }

    #[test]
    fn what_samples_share_is_written_once() {
        let check = |samples: &[Sample], tfhd_flags: u32, trun_flags: u32, default_flags: u32| {
            let plan = Plan::new(&Fragment {
                sequence: 1,
                track_id: 1,
                base_dts: 0,
                samples,
                producer_reference: None,
                start_of_segment: false,
            });
            assert_eq!((plan.tfhd_flags, plan.trun_flags, plan.default_flags), (tfhd_flags, trun_flags, default_flags));
        };
        let (key, frame) = (sample(512, 0, true, 9), sample(512, 0, false, 7));
        // Audio of one size; a GOP; a GOP's later part; B-frames; two keyframes; nothing.
        check(&[key.clone(), key.clone()], 0x02_0038, 0x001, FLAGS_SYNC);
        check(&[key.clone(), frame.clone(), frame.clone()], 0x02_0028, 0x205, FLAGS_NON_SYNC);
        check(&[frame.clone(), frame.clone()], 0x02_0038, 0x001, FLAGS_NON_SYNC);
        check(&[key.clone(), sample(512, -512, false, 7)], 0x02_0028, 0xA05, FLAGS_NON_SYNC);
        check(&[frame.clone(), key.clone(), frame.clone()], 0x02_0008, 0x601, FLAGS_SYNC);
        check(&[key.clone(), sample(511, 0, true, 9)], 0x02_0030, 0x101, FLAGS_SYNC);
        check(&[], 0x02_0038, 0x001, FLAGS_SYNC);
    }

    #[test]
    fn a_chunk_of_one_sample_byte_for_byte() {
        let samples = [sample(3_000, 1_500, true, 5)];
        let fragment = Fragment {
            sequence: 2,
            track_id: 7,
            base_dts: 0x1_0000_0002,
            samples: &samples,
            producer_reference: Some((3, 4)),
            start_of_segment: true,
        };
        let want: Vec<u8> = [
            &b"\0\0\0\x14styp\0\0\0\0msdhcmfs"[..],
            b"\0\0\0\x20prft\x01\0\0\x18\0\0\0\x07\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04",
            b"\0\0\0\x68moof\0\0\0\x10mfhd\0\0\0\0\0\0\0\x02\0\0\0\x50traf",
            b"\0\0\0\x1Ctfhd\0\x02\0\x38\0\0\0\x07\0\0\x0B\xB8\0\0\0\x05\x02\0\0\0",
            b"\0\0\0\x14tfdt\x01\0\0\0\0\0\0\x01\0\0\0\x02",
            b"\0\0\0\x18trun\x01\0\x08\x01\0\0\0\x01\0\0\0\x70\0\0\x05\xDC",
            b"\0\0\0\x0Dmdat",
        ]
        .concat();
        assert_eq!(fragment_header(&fragment), want);
        assert_eq!(chunk_len(&fragment), want.len() + 5);
    }
}
