//! Synthetic sources: tracks with real decoder configurations, and samples as an encoder and RTMP deliver them.

use base::{Timescale, time::rescale};
use bytes::{BufMut, Bytes, BytesMut};
use media::{
    CodecConfig, Sample, Track,
    codec::{aac, avc},
};

use crate::Random;

/// A frame rate, and the SPS that libx264 (High profile) writes for it at 1280x720 and at 640x360.
type Header = ((i64, i64), &'static [u8], &'static [u8]);

/// The first stands in for every other rate.
const HEADERS: &[Header] = &[
    (
        (30, 1),
        b"\x67\x64\x00\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\xc0\xf1\x83\x19\x60",
        b"\x67\x64\x00\x1e\xac\xd9\x40\xa0\x2f\xf9\x70\x11\x00\x00\x03\x00\x01\x00\x00\x03\x00\x3c\x0f\x16\x2d\x96",
    ),
    (
        (24, 1),
        b"\x67\x64\x00\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x00\xf1\x83\x19\x60",
        b"\x67\x64\x00\x1e\xac\xd9\x40\xa0\x2f\xf9\x70\x11\x00\x00\x03\x00\x01\x00\x00\x03\x00\x30\x0f\x16\x2d\x96",
    ),
    (
        (25, 1),
        b"\x67\x64\x00\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x83\x19\x60",
        b"\x67\x64\x00\x1e\xac\xd9\x40\xa0\x2f\xf9\x70\x11\x00\x00\x03\x00\x01\x00\x00\x03\x00\x32\x0f\x16\x2d\x96",
    ),
    (
        (30000, 1001),
        b"\x67\x64\x00\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\x00\x00\x3e\x90\x00\x0e\xa6\x00\xf1\x83\x19\x60",
        b"\x67\x64\x00\x1e\xac\xd9\x40\xa0\x2f\xf9\x70\x11\x00\x00\x03\x03\xe9\x00\x00\xea\x60\x0f\x16\x2d\x96",
    ),
    (
        (60, 1),
        b"\x67\x64\x00\x20\xac\xd9\x40\x50\x05\xbb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x07\x80\xf1\x83\x19\x60",
        b"\x67\x64\x00\x1e\xac\xd9\x40\xa0\x2f\xf9\x70\x11\x00\x00\x03\x00\x01\x00\x00\x03\x00\x78\x0f\x18\x31\x96",
    ),
];
/// Their PPS.
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
/// AudioSpecificConfig: AAC-LC, two channels, 48,000 Hz.
const ASC_48K: &[u8] = &[0x11, 0x90];
/// AudioSpecificConfig: AAC-LC, two channels, 44,100 Hz.
const ASC_44K: &[u8] = &[0x12, 0x10];
/// Output samples of an AAC frame.
const AAC_FRAME: i64 = 1_024;

/// A synthetic track: how its samples are made.
///
/// ```
/// use testkit::Samples;
///
/// let video = Samples::video_720p().frame_rate(25, 1).gop(&[50]).b_frames(2).seed(7);
/// let samples = video.until_ms(4_000);
/// assert_eq!((samples.len(), samples.iter().filter(|sample| sample.sync).count()), (100, 2));
/// ```
#[derive(Clone, Debug)]
pub struct Samples {
    track: Track,
    shape: Shape,
    start_ms: i64,
    rounded_to_ms: bool,
    jitter_ms: u64,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Shape {
    Video { small: bool, rate: (i64, i64), gop: Vec<i64>, b_frames: i64, key_bytes: usize, frame_bytes: usize },
    Audio { frame_bytes: usize },
}

impl Samples {
    /// 1280x720 H.264 at 30 frames per second, a key frame every two seconds.
    pub fn video_720p() -> Self {
        Self::video(false, 20_000, 5_000)
    }

    /// 640x360 H.264 at 30 frames per second, a key frame every two seconds.
    pub fn video_360p() -> Self {
        Self::video(true, 6_000, 1_500)
    }

    /// Stereo AAC-LC at 48 kHz.
    pub fn audio_48k() -> Self {
        Self::audio(ASC_48K)
    }

    /// Stereo AAC-LC at 44.1 kHz.
    pub fn audio_44k() -> Self {
        Self::audio(ASC_44K)
    }

    fn video(small: bool, key_bytes: usize, frame_bytes: usize) -> Self {
        let rate = (30, 1);
        let shape = Shape::Video { small, rate, gop: vec![60], b_frames: 0, key_bytes, frame_bytes };
        Self::new(header(small, rate), shape)
    }

    fn audio(record: &[u8]) -> Self {
        let config = aac::Config::from_record(record).expect("a constant AudioSpecificConfig is valid");
        Self::new(Track::new(CodecConfig::Aac(config)), Shape::Audio { frame_bytes: 170 })
    }

    fn new(track: Track, shape: Shape) -> Self {
        Self { track, shape, start_ms: 0, rounded_to_ms: false, jitter_ms: 0, seed: 0 }
    }

    /// Frames per second as a fraction: `(30_000, 1_001)` is 29.97. The decoder configuration says the same at 24, 25, 29.97, 30
    /// and 60, and 30 otherwise. Nothing for sound.
    pub fn frame_rate(mut self, numerator: u32, denominator: u32) -> Self {
        if let Shape::Video { small, rate, .. } = &mut self.shape {
            *rate = (i64::from(numerator.max(1)), i64::from(denominator.max(1)));
            self.track = header(*small, *rate);
        }
        self
    }

    /// The decoder configuration says `numerator / denominator` frames per second (one of the rates above) whatever the samples do.
    pub fn claiming(mut self, numerator: u32, denominator: u32) -> Self {
        if let Shape::Video { small, .. } = &self.shape {
            self.track = header(*small, (i64::from(numerator), i64::from(denominator)));
        }
        self
    }

    /// Lengths of the groups of pictures in frames, repeated from the first when they run out. Nothing for sound.
    pub fn gop(mut self, frames: &[u32]) -> Self {
        if let Shape::Video { gop, .. } = &mut self.shape {
            *gop = frames.iter().map(|&frames| i64::from(frames.max(1))).collect();
        }
        self
    }

    /// B-frames between two reference frames, which delays presentation by one frame. Nothing for sound.
    pub fn b_frames(mut self, count: u32) -> Self {
        if let Shape::Video { b_frames, .. } = &mut self.shape {
            *b_frames = i64::from(count);
        }
        self
    }

    /// Payload sizes in bytes: key frames, and the others. Sound takes the second.
    pub fn sizes(mut self, key: usize, other: usize) -> Self {
        match &mut self.shape {
            Shape::Video { key_bytes, frame_bytes, .. } => (*key_bytes, *frame_bytes) = (key, other),
            Shape::Audio { frame_bytes } => *frame_bytes = other,
        }
        self
    }

    /// Source time of the first sample, in milliseconds.
    pub fn starting_ms(mut self, start_ms: i64) -> Self {
        self.start_ms = start_ms;
        self
    }

    /// Times are rounded down to milliseconds, as RTMP carries them.
    pub fn rtmp(mut self) -> Self {
        self.rounded_to_ms = true;
        self
    }

    /// Decoding times are late by up to `ms` at random, and still strictly increase; implies [`rtmp`](Self::rtmp).
    pub fn jitter_ms(mut self, ms: u32) -> Self {
        (self.rounded_to_ms, self.jitter_ms) = (true, u64::from(ms));
        self
    }

    /// Another sequence of sizes, payloads and jitter.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The track to hand to whatever takes the samples.
    pub fn track(&self) -> Track {
        self.track.clone()
    }

    /// The samples whose exact decoding times lie in the first `duration_ms` of the track, in decoding order.
    pub fn until_ms(&self, duration_ms: i64) -> Vec<Sample> {
        let mut samples = match &self.shape {
            Shape::Video { .. } => self.pictures(duration_ms),
            Shape::Audio { frame_bytes } => self.packets(duration_ms, *frame_bytes),
        };
        if self.jitter_ms > 0 {
            self.shake(&mut samples);
        }
        samples
    }

    fn pictures(&self, duration_ms: i64) -> Vec<Sample> {
        let Shape::Video { rate, gop: gops, b_frames, key_bytes, frame_bytes, .. } = &self.shape else {
            return Vec::new();
        };
        let time = |n: i64| self.stamp(n * rate.1 * i64::from(Timescale::VIDEO.get()) / rate.0);
        let mut random = Random::new(self.seed);
        let mut cycle = gops.iter().copied().cycle();
        let (mut gop, mut gop_start) = (cycle.next().unwrap_or(1), 0);
        let frames = (duration_ms * rate.0 + rate.1 * 1_000 - 1) / (rate.1 * 1_000);
        let picture = |n: i64| {
            if n - gop_start == gop {
                (gop_start, gop) = (n, cycle.next().unwrap_or(1));
            }
            let sync = n == gop_start;
            let shown = gop_start + shown_as(n - gop_start, gop, *b_frames) + i64::from(*b_frames > 0);
            let dts = time(n);
            let cts_offset = i32::try_from(time(shown) - dts).unwrap_or_default();
            let bytes = varied(&mut random, if sync { *key_bytes } else { *frame_bytes });
            Sample { dts, cts_offset, duration: 0, sync, payload: slice(&mut random, bytes, sync) }
        };
        (0..frames).map(picture).collect()
    }

    fn packets(&self, duration_ms: i64, frame_bytes: usize) -> Vec<Sample> {
        let mut random = Random::new(self.seed);
        let ticks = rescale(duration_ms, Timescale::MS, self.track.timescale);
        let packet = |n: i64| {
            let bytes = varied(&mut random, frame_bytes);
            let payload = noise(&mut random, BytesMut::with_capacity(bytes), bytes);
            Sample { dts: self.stamp(n * AAC_FRAME), cts_offset: 0, duration: 0, sync: true, payload }
        };
        (0..(ticks + AAC_FRAME - 1) / AAC_FRAME).map(packet).collect()
    }

    fn stamp(&self, ticks: i64) -> i64 {
        let timescale = self.track.timescale;
        let exact = ticks + timescale.from_ms(self.start_ms);
        if self.rounded_to_ms { timescale.from_ms(timescale.to_ms(exact)) } else { exact }
    }

    /// Presentation times move with their decoding times, as they do when an encoder stamps frames late.
    fn shake(&self, samples: &mut [Sample]) {
        let mut random = Random::new(self.seed ^ 0x6A69_7474_6572);
        let (timescale, mut last) = (self.track.timescale, i64::MIN);
        for sample in samples {
            let late = timescale.from_ms(i64::try_from(random.below(self.jitter_ms + 1)).unwrap_or(0));
            let one_ms = timescale.from_ms(1);
            sample.dts = (sample.dts + late).max(last.saturating_add(one_ms));
            last = sample.dts;
        }
    }
}

fn header(small: bool, rate: (i64, i64)) -> Track {
    let known = HEADERS.iter().find(|header| header.0 == rate).or_else(|| HEADERS.first());
    let (_, sps_720p, sps_360p) = known.expect("the table of headers is not empty");
    let sps = Bytes::from_static(if small { sps_360p } else { sps_720p });
    let config = avc::Config::from_parameter_sets(vec![sps], vec![Bytes::from_static(PPS)]);
    Track::new(CodecConfig::Avc(config.expect("constant parameter sets are valid")))
}

/// Where the `n`th coded frame of a closed group of pictures is shown: a reference frame before the B-frames it closes.
fn shown_as(n: i64, gop: i64, b_frames: i64) -> i64 {
    if n == 0 || b_frames == 0 {
        return n;
    }
    let run = b_frames + 1;
    let (group, place) = ((n - 1) / run, (n - 1) % run);
    if place == 0 { (group * run + run).min(gop - 1) } else { group * run + place }
}

/// `bytes` give or take a quarter.
fn varied(random: &mut Random, bytes: usize) -> usize {
    let quarter = bytes / 4;
    let drawn = usize::try_from(random.below(2 * quarter as u64 + 1)).unwrap_or(0);
    (bytes - quarter + drawn).max(16)
}

/// One NAL unit behind its length: nal_unit_type 5 or 1 with first_mb_in_slice zero, and noise.
fn slice(random: &mut Random, bytes: usize, sync: bool) -> Bytes {
    let mut payload = BytesMut::with_capacity(bytes + 4);
    payload.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
    payload.put_slice(if sync { &[0x65, 0x88] } else { &[0x41, 0x9A] });
    noise(random, payload, bytes + 4)
}

/// Fills up to `bytes`; no zero byte, so that nothing looks like a start code.
fn noise(random: &mut Random, mut payload: BytesMut, bytes: usize) -> Bytes {
    while payload.len() < bytes {
        let word = (random.next_u64() | 0x0101_0101_0101_0101).to_be_bytes();
        payload.extend_from_slice(word.get(..(bytes - payload.len()).min(8)).unwrap_or_default());
    }
    payload.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_say_what_they_are() {
        let check = |samples: Samples, codec: &str, size: Option<(u32, u32)>| {
            let track = samples.track();
            assert_eq!(track.codec.rfc6381(), codec);
            assert_eq!(track.codec.video().map(|video| (video.width, video.height)), size);
        };
        check(Samples::video_720p(), "avc1.64001F", Some((1280, 720)));
        check(Samples::video_360p(), "avc1.64001E", Some((640, 360)));
        check(Samples::audio_48k(), "mp4a.40.2", None);
        for rate in [(24, 1), (25, 1), (30_000, 1_001), (30, 1), (60, 1)] {
            for samples in [Samples::video_720p(), Samples::video_360p()] {
                let video = samples.frame_rate(rate.0, rate.1).track().codec.video().expect("pictures");
                assert_eq!(video.frame_rate, Some(rate));
            }
        }
        assert_eq!(Samples::audio_44k().track().timescale.get(), 44_100);
    }

    #[test]
    fn the_same_seed_gives_the_same_samples() {
        for samples in [Samples::video_720p().jitter_ms(9), Samples::audio_44k().jitter_ms(3)] {
            assert_eq!(samples.until_ms(3_000), samples.until_ms(3_000));
            assert_ne!(samples.until_ms(3_000), samples.clone().seed(1).until_ms(3_000));
        }
    }

    #[test]
    fn b_frames_show_every_frame_once_and_start_with_the_key_frame() {
        for count in 0..4 {
            let samples = Samples::video_720p().frame_rate(25, 1).gop(&[48, 7]).b_frames(count).until_ms(4_400);
            let mut shown: Vec<i64> = samples.iter().map(Sample::pts).collect();
            shown.sort_unstable();
            assert!(shown.windows(2).all(|pair| pair[1] - pair[0] == 3_600), "{count}");
            assert!(samples.iter().all(|sample| sample.cts_offset >= 0));
        }
    }

    #[test]
    fn jitter_keeps_decoding_times_increasing() {
        let samples = Samples::video_720p().frame_rate(60, 1).jitter_ms(40).until_ms(10_000);
        assert!(samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
        assert!(samples.iter().all(|sample| sample.dts % 90 == 0));
        assert_eq!(samples.len(), 600);
    }

    #[test]
    fn sizes_stay_near_what_was_asked() {
        let samples = Samples::video_360p().sizes(8_000, 400).until_ms(4_000);
        assert!(samples.iter().all(|sample| {
            let want = if sample.sync { 8_000 } else { 400 };
            (want * 3 / 4..=want * 5 / 4 + 4).contains(&sample.payload.len())
        }));
    }
}
