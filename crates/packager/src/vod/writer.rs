//! Samples in, a track file and its index out.

use base::{Timescale, time::rescale_nearest};
use bytes::Bytes;
use media::{
    Sample, Track, TrackKind,
    mp4::{self, Fragment as Header},
};

use super::{
    Error, MEDIA_ORIGIN_S, TrackIndex,
    column::Column,
    index::{Columns, Fragment, IndexedSegment, SAMPLES_MAX},
    rate,
};
use crate::track::track_id;

/// Shortest fragment that a sync sample ends, in milliseconds: seeking previews want a key frame now and then, and not a header for
/// every frame of an intra-only source.
const FRAGMENT_MS_MIN: i64 = 500;
/// Payload at which a fragment ends wherever it is, in bytes: what a writer holds in memory.
const FRAGMENT_BYTES_MAX: usize = 8 << 20;
/// The same in samples: far below what readers take.
const FRAGMENT_SAMPLES_MAX: usize = 4_096;
/// Longest segment, in milliseconds: a source without key frames is cut between them.
const SEGMENT_MS_MAX: i64 = 60_000;
/// A key frame this little before a boundary of the grid is on it, in milliseconds: rounding, and a third of a frame.
const GRID_TOLERANCE_MS: i64 = 10;

/// How a track is cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRule {
    /// The grid: a segment ends at the first sync sample on or behind each multiple of this, counted from the presentation's
    /// beginning, so that tracks with key frames at the same times have the same segments. From 500 to 30,000 ms.
    pub target_ms: u32,
}

/// Makes a CMAF track file, one piece after another; memory is bounded by a fragment and 16 bytes per sample.
#[derive(Debug)]
pub struct TrackWriter {
    track: Track,
    target_ticks: i64,
    origin: i64,
    /// Media time minus source time.
    shift: i64,
    held: Option<Sample>,
    /// Nothing was given out yet: the initialization segment goes first.
    init: Option<Bytes>,
    init_bytes: Bytes,
    sequence: u32,
    position: u64,
    open: Vec<Sample>,
    open_bytes: usize,
    /// The open segment's cell of the grid, and the decoding time of its first sample.
    cell: i64,
    segment_dts: i64,
    first_dts: Option<i64>,
    end_pts: i64,
    segments: Vec<IndexedSegment>,
    fragments: Vec<Fragment>,
    fields: Fields,
}

#[derive(Debug, Default)]
struct Fields {
    durations: Vec<i32>,
    offsets: Vec<i32>,
    sizes: Vec<i32>,
    syncs: Vec<i32>,
}

impl TrackWriter {
    /// Before the first sample. The presentation begins at source time zero unless [`zero_at`](Self::zero_at) says another.
    pub fn new(track: Track, rule: SegmentRule) -> Self {
        let init_bytes = mp4::init_segment(&track, track_id(track.kind()));
        let timescale = track.timescale;
        let origin = i64::from(MEDIA_ORIGIN_S) * i64::from(timescale.get());
        Self {
            target_ticks: timescale.from_ms(rule.target_ms.clamp(500, 30_000).into()).max(1),
            origin,
            shift: origin,
            held: None,
            init: Some(init_bytes.clone()),
            position: init_bytes.len() as u64,
            init_bytes,
            track,
            sequence: 0,
            open: Vec::new(),
            open_bytes: 0,
            cell: 0,
            segment_dts: 0,
            first_dts: None,
            end_pts: 0,
            segments: Vec::new(),
            fragments: Vec::new(),
            fields: Fields::default(),
        }
    }

    /// The presentation begins at this source time, in 90 kHz ticks: the same for every track of an asset. To be said before the
    /// first sample.
    #[must_use]
    pub fn zero_at(mut self, source_90k: i64) -> Self {
        let zero = rescale_nearest(source_90k, Timescale::VIDEO, self.track.timescale);
        self.shift = self.origin.saturating_sub(zero);
        self
    }

    /// Takes the next sample, in decoding order and in the source's time; gives the bytes to append to the track file. Decoding times
    /// that do not increase are moved on; presentation times stay.
    ///
    /// # Errors
    /// When the sample lies too far before the beginning, a field does not fit, or there are too many.
    pub fn push(&mut self, sample: Sample) -> Result<Vec<Bytes>, Error> {
        let Some(sample) = self.place(sample)? else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        if let Some(held) = self.held.take() {
            self.take(held, sample.dts)?;
            self.cut(&sample, &mut out);
        } else {
            self.begin(&sample);
        }
        self.held = Some(sample);
        Ok(out)
    }

    /// Ends the track; gives the last bytes and the index.
    ///
    /// # Errors
    /// When there was no sample.
    pub fn finish(mut self) -> Result<(Vec<Bytes>, TrackIndex), Error> {
        let mut out = Vec::new();
        let Some(held) = self.held.take() else { return Err(Error::Empty) };
        let usual = self.fields.durations.last().map_or(1, |&duration| i64::from(duration));
        let duration = if held.duration > 0 { held.duration.into() } else { usual };
        let end = held.dts.saturating_add(duration);
        self.take(held, end)?;
        self.seal(&mut out);
        Ok((out, self.index()?))
    }

    /// The sample in media time; `None` for sound that is over before the presentation begins.
    fn place(&self, mut sample: Sample) -> Result<Option<Sample>, Error> {
        let pts = sample.pts().saturating_add(self.shift);
        let is_first = self.first_dts.is_none();
        let over = pts.saturating_add(sample.duration.max(1).into()) <= self.origin;
        if self.track.kind() == TrackKind::Audio && is_first && over {
            return Ok(None);
        }
        if pts < 0 {
            return Err(Error::BeforeOrigin { pts: pts - self.origin, limit: self.origin });
        }
        let earliest = self.held.as_ref().map_or(0, |held| held.dts + 1);
        sample.dts = sample.dts.saturating_add(self.shift).max(earliest);
        let offset = pts - sample.dts;
        let wrong = Error::Field { dts: sample.dts, what: "composition offset", value: offset };
        sample.cts_offset = i32::try_from(offset).map_err(|_| wrong)?;
        Ok(Some(sample))
    }

    fn begin(&mut self, first: &Sample) {
        self.first_dts = Some(first.dts);
        self.segment_dts = first.dts;
        self.cell = self.cell_of(first);
    }

    /// Adds the sample that was held; it lasts until `next_dts`.
    fn take(&mut self, mut sample: Sample, next_dts: i64) -> Result<(), Error> {
        let dts = sample.dts;
        let field = |what, value: i64| i32::try_from(value).map_err(|_| Error::Field { dts, what, value });
        let duration = field("a duration", next_dts - dts)?;
        let size = field("a size", i64::try_from(sample.payload.len()).unwrap_or(i64::MAX))?;
        if self.fields.sizes.len() >= SAMPLES_MAX {
            return Err(Error::TooManySamples { limit: SAMPLES_MAX });
        }
        sample.duration = duration.unsigned_abs();
        self.end_pts = self.end_pts.max(sample.pts().saturating_add(duration.into()));
        self.fields.durations.push(duration);
        self.fields.offsets.push(sample.cts_offset);
        self.fields.sizes.push(size);
        self.fields.syncs.push(i32::from(sample.sync));
        self.open_bytes += sample.payload.len();
        self.open.push(sample);
        Ok(())
    }

    /// Ends the fragment, and the segment, where `next` begins another.
    fn cut(&mut self, next: &Sample, out: &mut Vec<Bytes>) {
        let timescale = self.track.timescale;
        let cell = self.cell_of(next);
        let too_long = timescale.to_ms(next.dts - self.segment_dts) >= SEGMENT_MS_MAX;
        if (next.sync && cell > self.cell) || too_long {
            self.seal(out);
            self.cell = cell;
            self.segment_dts = next.dts;
            return;
        }
        let begun = self.open.first().map_or(next.dts, |first| first.dts);
        let long = timescale.to_ms(next.dts - begun) >= FRAGMENT_MS_MIN;
        let group = next.sync && long && self.track.kind() == TrackKind::Video;
        if group || self.open_bytes >= FRAGMENT_BYTES_MAX || self.open.len() >= FRAGMENT_SAMPLES_MAX {
            self.seal(out);
        }
    }

    /// The cell of the grid that a sample begins in. Sound belongs to the boundary that it is nearest to.
    fn cell_of(&self, sample: &Sample) -> i64 {
        let tolerance = match self.track.kind() {
            TrackKind::Video => self.track.timescale.from_ms(GRID_TOLERANCE_MS),
            TrackKind::Audio => i64::from(sample.duration) / 2,
        };
        (sample.pts() - self.origin + tolerance).div_euclid(self.target_ticks).max(0)
    }

    /// Makes a fragment of the open samples.
    fn seal(&mut self, out: &mut Vec<Bytes>) {
        let samples = std::mem::take(&mut self.open);
        let Some(first) = samples.first() else { return };
        self.sequence = self.sequence.wrapping_add(1);
        let header = mp4::fragment_header(&Header {
            sequence: self.sequence,
            track_id: track_id(self.track.kind()),
            base_dts: u64::try_from(first.dts).unwrap_or(0),
            samples: &samples,
            producer_reference: None,
            start_of_segment: false,
        });
        let fragment = Fragment {
            offset: self.position,
            header_bytes: u32::try_from(header.len()).expect("invariant: a fragment has a few thousand samples"),
            payload_bytes: self.open_bytes as u64,
            samples: samples.len() as u32,
        };
        self.extend_segment(&fragment, &samples);
        self.position += fragment.bytes();
        self.fragments.push(fragment);
        self.open_bytes = 0;
        out.extend(self.init.take());
        out.push(header);
        out.extend(samples.into_iter().map(|sample| sample.payload));
    }

    /// A fragment that begins with the open segment's first sample begins it in the index, too.
    fn extend_segment(&mut self, fragment: &Fragment, samples: &[Sample]) {
        let number = self.fragments.len();
        let begins = samples.first().is_some_and(|first| first.dts == self.segment_dts);
        if let Some(open) = self.segments.last_mut().filter(|_| !begins) {
            open.bytes += fragment.bytes();
            open.fragments.end = number + 1;
            return;
        }
        let start_ticks = samples.iter().map(Sample::pts).min().unwrap_or(self.segment_dts);
        // Behind a cut in the middle of a group of pictures the earliest one may have been in the segment before.
        let start_ticks = self.segments.last().map_or(start_ticks, |last| start_ticks.max(last.start_ticks));
        if let Some(last) = self.segments.last_mut() {
            last.ticks = start_ticks - last.start_ticks;
        }
        let (offset, bytes) = (fragment.offset, fragment.bytes());
        let sync = samples.first().is_some_and(|first| first.sync);
        self.segments.push(IndexedSegment {
            offset,
            bytes,
            start_ticks,
            ticks: 0,
            sync,
            fragments: number..number + 1,
        });
    }

    fn index(mut self) -> Result<TrackIndex, Error> {
        let start_ticks = self.segments.first().ok_or(Error::Empty)?.start_ticks;
        if let Some(last) = self.segments.last_mut() {
            last.ticks = (self.end_pts - last.start_ticks).max(0);
        }
        let codec = &self.track.codec;
        let timescale = self.track.timescale;
        let (bandwidth, average_bandwidth) = rate::bandwidth(&self.segments, timescale);
        // What is shown, and not the decoding times: those may be squeezed together where reordered pictures begin.
        let ticks = (self.end_pts - start_ticks).max(0);
        let frames = self.fields.durations.len() as u64;
        let (video, audio) = (codec.video(), codec.audio());
        let measured = |told| rate::frame_rate(frames, ticks.unsigned_abs(), timescale, told);
        Ok(TrackIndex {
            kind: self.track.kind(),
            codecs: codec.rfc6381(),
            timescale,
            init: self.init_bytes,
            zero_ticks: self.origin,
            start_ticks,
            end_ticks: self.end_pts,
            segments: self.segments,
            fragments: self.fragments,
            bandwidth,
            average_bandwidth,
            width: video.map(|video| video.width),
            height: video.map(|video| video.height),
            frame_rate: video.and_then(|video| measured(video.frame_rate)),
            channels: audio.map(|audio| audio.channels),
            sample_rate: audio.map(|audio| audio.sample_rate),
            first_dts: self.first_dts.unwrap_or(0),
            samples: Columns {
                count: self.fields.sizes.len(),
                durations: Column::of(&self.fields.durations),
                offsets: Column::of(&self.fields.offsets),
                sizes: Column::of(&self.fields.sizes),
                syncs: Column::of(&self.fields.syncs),
            },
        })
    }
}
