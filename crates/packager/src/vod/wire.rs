//! The index as JSON.

use base::Timescale;
use bytes::Bytes;
use data_encoding::BASE64_NOPAD;
use media::TrackKind;
use serde::{Deserialize, Serialize};

use super::{
    Error, INDEX_VERSION, TrackIndex,
    column::Column,
    index::{Columns, Fragment, IndexedSegment, SAMPLES_MAX},
};

/// Largest file position and bit rate: sums of a few stay in 64 bits.
const VALUE_MAX: u64 = 1 << 56;
/// Latest time, in seconds: 46 days, more than [`SAMPLES_MAX`] samples of anything last. In every unit it fits in 64 bits.
const TIME_S_MAX: i64 = 4_000_000;
/// Largest initialization segment, in bytes: codec configurations are below 64 KiB.
const INIT_BYTES_MAX: usize = 1 << 20;
/// Longest codecs string, in bytes.
const CODECS_BYTES_MAX: usize = 200;

/// The JSON of an index. Positions in the file follow from the sizes, which are told in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Wire {
    version: u32,
    kind: Kind,
    codecs: String,
    timescale: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame_rate: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample_rate: Option<u32>,
    bandwidth: u64,
    average_bandwidth: u64,
    zero_ticks: i64,
    start_ticks: i64,
    end_ticks: i64,
    first_dts: i64,
    /// Base64.
    init: String,
    /// Number of fragments, earliest presentation time, ticks, 1 when it begins with a sync sample.
    segments: Vec<(u32, i64, i64, u8)>,
    /// Header bytes, payload bytes, samples.
    fragments: Vec<(u32, u64, u32)>,
    samples: WireColumns,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WireColumns {
    count: usize,
    durations: String,
    offsets: String,
    sizes: String,
    syncs: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Video,
    Audio,
}

impl From<TrackIndex> for Wire {
    fn from(index: TrackIndex) -> Self {
        let segment = |segment: &IndexedSegment| {
            let fragments = u32::try_from(segment.fragments.len()).unwrap_or(u32::MAX);
            (fragments, segment.start_ticks, segment.ticks, u8::from(segment.sync))
        };
        let fragment = |fragment: &Fragment| (fragment.header_bytes, fragment.payload_bytes, fragment.samples);
        Self {
            version: INDEX_VERSION,
            kind: match index.kind {
                TrackKind::Video => Kind::Video,
                TrackKind::Audio => Kind::Audio,
            },
            timescale: index.timescale.get(),
            width: index.width,
            height: index.height,
            frame_rate: index.frame_rate,
            channels: index.channels,
            sample_rate: index.sample_rate,
            bandwidth: index.bandwidth,
            average_bandwidth: index.average_bandwidth,
            zero_ticks: index.zero_ticks,
            start_ticks: index.start_ticks,
            end_ticks: index.end_ticks,
            first_dts: index.first_dts,
            init: BASE64_NOPAD.encode(&index.init),
            segments: index.segments.iter().map(segment).collect(),
            fragments: index.fragments.iter().map(fragment).collect(),
            samples: WireColumns {
                count: index.samples.count,
                durations: index.samples.durations.to_text(),
                offsets: index.samples.offsets.to_text(),
                sizes: index.samples.sizes.to_text(),
                syncs: index.samples.syncs.to_text(),
            },
            codecs: index.codecs,
        }
    }
}

impl TryFrom<Wire> for TrackIndex {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Self, Error> {
        need(wire.version == INDEX_VERSION, || format!("version {}, expected {INDEX_VERSION}", wire.version))?;
        let timescale = Timescale::new(wire.timescale).ok_or_else(|| Error::Index("timescale 0".into()))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let codecs = !wire.codecs.is_empty() && wire.codecs.len() <= CODECS_BYTES_MAX && wire.codecs.bytes().all(plain);
        need(codecs, || format!("codecs {:?}", wire.codecs.chars().take(40).collect::<String>()))?;
        let rate = wire.frame_rate.is_none_or(|(frames, seconds)| frames > 0 && seconds > 0);
        need(rate, || format!("frame rate {:?}", wire.frame_rate))?;
        for time in [wire.zero_ticks, wire.start_ticks, wire.end_ticks, wire.first_dts] {
            need((0..=latest(timescale)).contains(&time), || format!("time {time}"))?;
        }
        need(wire.start_ticks <= wire.end_ticks, || "it ends before it begins".into())?;
        let bits = wire.bandwidth.max(wire.average_bandwidth);
        need(bits <= VALUE_MAX, || format!("bandwidth {bits}"))?;
        let init = BASE64_NOPAD.decode(wire.init.as_bytes()).map_err(|error| Error::Index(error.to_string()))?;
        need((8..=INIT_BYTES_MAX).contains(&init.len()), || format!("initialization segment of {} bytes", init.len()))?;
        let fragments = fragments(&wire.fragments, init.len() as u64)?;
        let segments = segments(&wire, &fragments, latest(timescale))?;
        let index = Self {
            kind: match wire.kind {
                Kind::Video => TrackKind::Video,
                Kind::Audio => TrackKind::Audio,
            },
            codecs: wire.codecs,
            timescale,
            init: Bytes::from(init),
            zero_ticks: wire.zero_ticks,
            start_ticks: wire.start_ticks,
            end_ticks: wire.end_ticks,
            segments,
            fragments,
            bandwidth: wire.bandwidth,
            average_bandwidth: wire.average_bandwidth,
            width: wire.width,
            height: wire.height,
            frame_rate: wire.frame_rate,
            channels: wire.channels,
            sample_rate: wire.sample_rate,
            first_dts: wire.first_dts,
            samples: columns(&wire.samples)?,
        };
        check_samples(&index)?;
        Ok(index)
    }
}

/// The latest time, in ticks.
fn latest(timescale: Timescale) -> i64 {
    i64::from(timescale.get()) * TIME_S_MAX
}

fn need(kept: bool, why: impl FnOnce() -> String) -> Result<(), Error> {
    if kept { Ok(()) } else { Err(Error::Index(why())) }
}

fn fragments(wire: &[(u32, u64, u32)], init_bytes: u64) -> Result<Vec<Fragment>, Error> {
    let mut offset = init_bytes;
    let mut fragments = Vec::with_capacity(wire.len());
    for &(header_bytes, payload_bytes, samples) in wire {
        let fragment = Fragment { offset, header_bytes, payload_bytes, samples };
        let fits = header_bytes > 0 && samples > 0 && payload_bytes <= VALUE_MAX && offset <= VALUE_MAX;
        need(fits, || format!("fragment {} of {header_bytes} and {payload_bytes} bytes", fragments.len()))?;
        offset += fragment.bytes();
        fragments.push(fragment);
    }
    need(!fragments.is_empty(), || "no fragment".into())?;
    Ok(fragments)
}

fn segments(wire: &Wire, fragments: &[Fragment], latest: i64) -> Result<Vec<IndexedSegment>, Error> {
    let mut segments: Vec<IndexedSegment> = Vec::with_capacity(wire.segments.len());
    for &(count, start_ticks, ticks, sync) in &wire.segments {
        let wrong = || Error::Index(format!("segment {} of {count} fragments at {start_ticks}", segments.len()));
        let first = segments.last().map_or(0, |last| last.fragments.end);
        let end = first.saturating_add(count as usize);
        let own = fragments.get(first..end).filter(|own| !own.is_empty()).ok_or_else(wrong)?;
        let back = segments.last().is_some_and(|last| last.start_ticks > start_ticks);
        let in_bounds = |time: i64| (0..=latest).contains(&time);
        if back || !in_bounds(start_ticks) || !in_bounds(ticks) {
            return Err(wrong());
        }
        let bytes = own.iter().map(Fragment::bytes).sum();
        let offset = own.first().map_or(0, |fragment| fragment.offset);
        segments.push(IndexedSegment { offset, bytes, start_ticks, ticks, sync: sync != 0, fragments: first..end });
    }
    let last = segments.last().map_or(0, |last| last.fragments.end);
    need(last == fragments.len(), || format!("{} fragments, {last} in segments", fragments.len()))?;
    Ok(segments)
}

fn columns(wire: &WireColumns) -> Result<Columns, Error> {
    let count = wire.count;
    need((1..=SAMPLES_MAX).contains(&count), || format!("{count} samples"))?;
    let column = |name: &str, text: &str| {
        Column::from_text(text, count).ok_or_else(|| Error::Index(format!("the samples' {name} cannot be read")))
    };
    let columns = Columns {
        count,
        durations: column("durations", &wire.durations)?,
        offsets: column("offsets", &wire.offsets)?,
        sizes: column("sizes", &wire.sizes)?,
        syncs: column("syncs", &wire.syncs)?,
    };
    let positive = columns.durations.iter().chain(columns.sizes.iter()).all(|value| value >= 0);
    need(positive, || "a sample's duration or size is negative".into())?;
    Ok(columns)
}

/// The samples fill the fragments.
fn check_samples(index: &TrackIndex) -> Result<(), Error> {
    let mut sizes = index.samples.sizes.iter();
    for (n, fragment) in index.fragments.iter().enumerate() {
        let mut left = u64::from(fragment.samples);
        let bytes: u64 = sizes.by_ref().take(fragment.samples as usize).inspect(|_| left -= 1).map(|b| b as u64).sum();
        need(left == 0 && bytes == fragment.payload_bytes, || format!("fragment {n} and its samples differ"))?;
    }
    need(sizes.next().is_none(), || "samples outside the fragments".into())?;
    let ticks: i64 = index.samples.durations.iter().map(i64::from).sum();
    need(index.first_dts + ticks <= latest(index.timescale), || format!("samples of {ticks} ticks"))
}
