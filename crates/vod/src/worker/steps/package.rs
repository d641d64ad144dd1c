//! Make one CMAF track file and its index of the encoded chunks, which are read one behind another; memory holds a fragment of each side.

use std::path::PathBuf;

use base::{Timescale, time::rescale_nearest};
use bytes::Bytes;
use media::{
    Sample, Track,
    mp4::{Demuxer, Event},
};
use packager::vod::{SegmentRule, TrackIndex, TrackWriter};
use sha2::{Digest, Sha256};
use store::catalogue::StepError;
use tokio::io::{AsyncWriteExt, BufWriter};
use transcode::vod::Encoded;

use super::super::{
    failure::{self, Result},
    publish::Ready,
    task::Task,
};
use crate::protocol::{ObjectRef, Output, RenditionSummary};

/// Names of the stored objects.
const MEDIA: &str = "track.mp4";
const INDEX: &str = "index.json";
/// Written to disk at a time, in bytes.
const WRITE_BYTES: usize = 1 << 20;
/// Thousandths of the step that are reading and writing; the rest is storing.
const MAKE_PART: u32 = 800;
/// How far a chunk's first picture may be beside the time that its encoder told, in ticks of 90 kHz: a millisecond.
const TICKS_TOLERATED: i64 = 90;

pub(super) async fn package(task: &Task, segment_ms: u32) -> Result<Output> {
    let chunks = chunks(task)?;
    let zero = task.leased().probe.as_ref().map_or(chunks[0].encoded.first_pts, |probe| probe.start_ms * 90);
    let mut file = TrackFile::create(task).await?;
    let mut join = Join::new(SegmentRule { target_ms: segment_ms }, zero);
    let total: u64 = chunks.iter().map(|chunk| chunk.object.bytes).sum();
    let mut done = 0;
    for chunk in &chunks {
        join.begin(chunk);
        let mut reader = task.read(chunk.object).await?;
        while let Some(piece) = reader.next().await? {
            done += piece.len() as u64;
            file.append(join.push(&piece)?).await?;
            task.report_bytes(done, total, 0, MAKE_PART);
        }
        join.end()?;
    }
    let (rest, index) = join.finish()?;
    file.append(rest).await?;
    let media = file.store(task, &index).await?;
    let json = serde_json::to_vec(&index).map_err(|error| failure::bug("index_failed", error.to_string()))?;
    let json = task.put(INDEX, &Ready::memory(json.into())).await?;
    Ok(Output::Packaged { media, index: json, summary: summary(&index) })
}

/// What an encode step made.
#[derive(Clone, Copy, Debug)]
struct ChunkInput<'a> {
    step: &'a str,
    object: &'a ObjectRef,
    encoded: &'a Encoded,
}

/// The encode outputs among the inputs, in order; at least one.
fn chunks(task: &Task) -> Result<Vec<ChunkInput<'_>>> {
    let inputs = task.leased().inputs.iter().filter_map(|(step, output)| match output {
        Output::Encoded { object, encoded } => Some(ChunkInput { step, object, encoded }),
        _ => None,
    });
    let chunks: Vec<_> = inputs.collect();
    if chunks.is_empty() { Err(failure::bad_inputs("nothing that was encoded")) } else { Ok(chunks) }
}

fn summary(index: &TrackIndex) -> RenditionSummary {
    RenditionSummary {
        codecs: index.codecs.clone(),
        width: index.width,
        height: index.height,
        bandwidth: index.bandwidth,
        average_bandwidth: index.average_bandwidth,
        // Its own length: a track may begin after the presentation does.
        duration_ms: index.timescale.to_ms(index.end_ticks - index.start_ticks),
        samples: index.sample_count() as u64,
        segments: index.segments.len() as u64,
    }
}

/// The track file on the worker's disk: its hash must be known before it is sent, and a broken transfer sends it again.
struct TrackFile {
    path: PathBuf,
    file: BufWriter<tokio::fs::File>,
    hash: Sha256,
    bytes: u64,
}

impl TrackFile {
    async fn create(task: &Task) -> Result<Self> {
        let path = task.folder().join(MEDIA);
        let file = tokio::fs::File::create(&path).await.map_err(|error| failure::disk(&error))?;
        Ok(Self { path, file: BufWriter::with_capacity(WRITE_BYTES, file), hash: Sha256::new(), bytes: 0 })
    }

    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        for piece in pieces {
            self.hash.update(&piece);
            self.bytes += piece.len() as u64;
            self.file.write_all(&piece).await.map_err(|error| failure::disk(&error))?;
        }
        Ok(())
    }

    async fn store(mut self, task: &Task, index: &TrackIndex) -> Result<ObjectRef> {
        self.file.flush().await.map_err(|error| failure::disk(&error))?;
        if index.bytes() != self.bytes {
            let human =
                format!("The index tells {} bytes of a track file of {}; report it.", index.bytes(), self.bytes);
            return Err(failure::bug("index_differs", human));
        }
        task.put(MEDIA, &Ready::hashed(self.path, self.bytes, self.hash)).await
    }
}

/// Joins the samples of chunks into one track.
struct Join {
    rule: SegmentRule,
    /// The presentation's beginning, in 90 kHz of the source.
    zero: i64,
    written: Option<Written>,
    chunk: Open,
}

/// What is the same for all chunks.
struct Written {
    track: Track,
    writer: TrackWriter,
    /// How far the first chunk decodes before it presents: all others are brought to it, so that decoding times go on evenly.
    reorder: i64,
    /// The latest presentation time so far.
    last_pts: i64,
}

/// The chunk that is being read.
#[derive(Default)]
struct Open {
    step: String,
    demuxer: Demuxer,
    expected_pts: i64,
    expected_frames: u64,
    frames: u64,
    /// To be added to this chunk's decoding times.
    shift: i64,
    last_pts: i64,
    has_track: bool,
}

impl Join {
    fn new(rule: SegmentRule, zero: i64) -> Self {
        Self { rule, zero, written: None, chunk: Open::default() }
    }

    fn begin(&mut self, chunk: &ChunkInput<'_>) {
        self.chunk = Open {
            step: chunk.step.to_owned(),
            expected_pts: chunk.encoded.first_pts,
            expected_frames: chunk.encoded.frames,
            last_pts: i64::MIN,
            ..Open::default()
        };
    }

    /// Takes bytes of the open chunk; gives bytes of the track file.
    fn push(&mut self, piece: &[u8]) -> Result<Vec<Bytes>> {
        self.chunk.demuxer.push(piece).map_err(|error| self.wrong(&error.to_string()))?;
        let mut out = Vec::new();
        while let Some(event) = self.chunk.demuxer.poll() {
            match event {
                Event::Track { track, .. } => self.take_track(track)?,
                Event::Chunk(samples) => {
                    for sample in samples.samples {
                        out.extend(self.take_sample(sample)?);
                    }
                }
            }
        }
        Ok(out)
    }

    fn take_track(&mut self, track: Track) -> Result<()> {
        if std::mem::replace(&mut self.chunk.has_track, true) && self.written.as_ref().is_none_or(|w| w.track != track)
        {
            return Err(failure::input(
                "format_changes",
                format!(
                    "The track of {} changes its format in the middle; choose a recipe that encodes it.",
                    self.chunk.step
                ),
            ));
        }
        match &self.written {
            None => {
                let writer = TrackWriter::new(track.clone(), self.rule).zero_at(self.zero);
                self.written = Some(Written { track, writer, reorder: 0, last_pts: i64::MIN });
                Ok(())
            }
            Some(written) if written.track == track => Ok(()),
            Some(_) => Err(failure::bug(
                "chunk_differs",
                format!(
                    "The chunk of {} has another codec configuration than those before it; give all workers the same FFmpeg and retry the job.",
                    self.chunk.step
                ),
            )),
        }
    }

    fn take_sample(&mut self, mut sample: Sample) -> Result<Vec<Bytes>> {
        let pts = sample.pts();
        if self.chunk.frames == 0 {
            self.begin_chunk(&sample)?;
        }
        let Some(written) = &mut self.written else { return Err(self.wrong("samples before their track")) };
        let shift = self.chunk.shift;
        sample.dts = sample.dts.saturating_add(shift);
        sample.cts_offset = i32::try_from(i64::from(sample.cts_offset) - shift).unwrap_or(sample.cts_offset);
        self.chunk.frames += 1;
        self.chunk.last_pts = self.chunk.last_pts.max(pts);
        let pieces = written.writer.push(sample);
        pieces.map_err(|error| self.wrong(&error.to_string()))
    }

    /// The first sample of a chunk is its first in presentation, too: chunks are closed groups of pictures.
    fn begin_chunk(&mut self, first: &Sample) -> Result<()> {
        let pts = first.pts();
        let Some(written) = &mut self.written else { return Err(self.wrong("samples before their track")) };
        let timescale = written.track.timescale;
        let beside = rescale_nearest(pts, timescale, Timescale::VIDEO) - self.chunk.expected_pts;
        if written.last_pts == i64::MIN {
            written.reorder = pts - first.dts;
        }
        self.chunk.shift = (pts - first.dts) - written.reorder;
        let overlap = pts <= written.last_pts;
        if beside.abs() > TICKS_TOLERATED {
            return Err(self.wrong(&format!("the first picture is {beside} ticks beside its time")));
        }
        if overlap {
            return Err(self.wrong("it overlaps with the chunk before"));
        }
        Ok(())
    }

    /// The open chunk is complete.
    fn end(&mut self) -> Result<()> {
        self.chunk.demuxer.finish().map_err(|error| self.wrong(&error.to_string()))?;
        let (frames, expected) = (self.chunk.frames, self.chunk.expected_frames);
        if frames != expected {
            return Err(self.wrong(&format!("it holds {frames} samples instead of {expected}")));
        }
        if let Some(written) = &mut self.written {
            written.last_pts = written.last_pts.max(self.chunk.last_pts);
        }
        Ok(())
    }

    fn finish(self) -> Result<(Vec<Bytes>, TrackIndex)> {
        let step = self.chunk.step;
        let written = self.written.ok_or_else(|| wrong(&step, "it has no track"))?;
        written.writer.finish().map_err(|error| wrong(&step, &error.to_string()))
    }

    fn wrong(&self, what: &str) -> StepError {
        wrong(&self.chunk.step, what)
    }
}

fn wrong(step: &str, what: &str) -> StepError {
    failure::bug(
        "bad_chunk",
        format!(
            "The chunk of {step} cannot be packaged: {}. Retry that step; report it if it repeats.",
            failure::quote(what)
        ),
    )
}

#[cfg(test)]
mod tests {
    use media::{CodecConfig, codec::aac, mp4};

    use super::*;

    fn track() -> Track {
        Track::new(CodecConfig::Aac(aac::Config::from_record(&[0x11, 0x90]).unwrap()))
    }

    /// `count` samples from `first` on, decoded `reorder` ticks before they are presented.
    fn file(track: &Track, first: i64, count: i64, reorder: i64) -> Vec<u8> {
        let sample = |n: i64| Sample {
            dts: first + 1_024 * n,
            cts_offset: reorder as i32,
            duration: 1_024,
            sync: true,
            payload: Bytes::from(vec![n as u8; 10]),
        };
        let samples: Vec<Sample> = (0..count).map(sample).collect();
        let head = mp4::Fragment {
            sequence: 1,
            track_id: 1,
            base_dts: first as u64,
            samples: &samples,
            producer_reference: None,
            start_of_segment: false,
        };
        let mut file = [mp4::init_segment(track, 1), mp4::fragment_header(&head)].concat();
        file.extend(samples.iter().flat_map(|sample| sample.payload.clone()));
        file
    }

    fn encoded(first: i64, frames: u64) -> Encoded {
        let first_pts = rescale_nearest(first, Timescale::hz(48_000), Timescale::VIDEO);
        Encoded {
            frames,
            first_pts,
            end_pts: first_pts,
            digest: String::new(),
            source_frames: frames,
            source_digest: String::new(),
            damaged: 0,
            bytes: 1,
            kbps_mean: 1,
            ssim: None,
            vmaf: None,
            cpu_ms: 0,
        }
    }

    /// Joins chunks given as the bytes of their files and what is claimed of them: first time and samples.
    fn join(chunks: &[(Vec<u8>, i64, u64)]) -> Result<TrackIndex> {
        let object = ObjectRef { key: "k".into(), bytes: 0, sha256: String::new() };
        let mut join = Join::new(SegmentRule { target_ms: 1_000 }, 0);
        let mut file = Vec::new();
        for (n, (bytes, first, frames)) in chunks.iter().enumerate() {
            let (step, encoded) = (format!("encode/v/{n}"), encoded(*first, *frames));
            join.begin(&ChunkInput { step: &step, object: &object, encoded: &encoded });
            for piece in bytes.chunks(33) {
                file.extend(join.push(piece)?);
            }
            join.end()?;
        }
        let (rest, index) = join.finish()?;
        file.extend(rest);
        assert_eq!(file.concat().len() as u64, index.bytes());
        Ok(index)
    }

    #[test]
    fn chunks_become_one_track_whatever_their_reordering() {
        let track = track();
        let first = file(&track, 48_000, 50, 0);
        let second = file(&track, 48_000 + 50 * 1_024 - 2_048, 50, 2_048);

        let index = join(&[(first, 48_000, 50), (second, 48_000 + 50 * 1_024, 50)]).unwrap();

        let pts: Vec<i64> = index.samples().map(|sample| sample.pts() - index.zero_ticks).collect();
        assert_eq!(pts, (0..100).map(|n| 48_000 + 1_024 * n).collect::<Vec<_>>());
        assert!(index.samples().all(|sample| sample.duration == 1_024 && sample.cts_offset == 0));
    }

    #[test]
    fn a_chunk_that_is_not_what_it_was_said_to_be_is_named() {
        let track = track();
        let good = || (file(&track, 0, 50, 0), 0, 50);
        let check = |second: (Vec<u8>, i64, u64), code: &str| {
            let error = join(&[good(), second]).unwrap_err();
            assert!(error.code == code && error.human.contains("encode/v/1"), "{error:?}");
        };
        let at = 50 * 1_024;
        check((file(&track, at, 49, 0), at, 50), "bad_chunk");
        check((file(&track, at + 480, 50, 0), at, 50), "bad_chunk");
        check((file(&track, 1_024, 50, 0), 1_024, 50), "bad_chunk");
        let mut cut = file(&track, at, 50, 0);
        cut.truncate(cut.len() - 5);
        check((cut, at, 50), "bad_chunk");
        let other = Track::new(CodecConfig::Aac(aac::Config::from_record(&[0x12, 0x10]).unwrap()));
        check((file(&other, at, 50, 0), at, 50), "chunk_differs");
    }
}
