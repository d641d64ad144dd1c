//! FFmpeg's output on its way into a file: read, checked, and written as the one track of a fragmented MP4.
//!
//! Presentation times are exact. Decoding times are the encoder's, but none is below zero and each is above the one before, so
//! that no composition offset is negative: FFmpeg, which reads these files again, shifts a track that has one.

use std::path::{Path, PathBuf};

use base::{Timescale, time::rescale_nearest};
use media::{Sample, Track, TrackKind, mp4};
use tokio::{fs::File, io::AsyncWriteExt};

use super::{
    Class, Encoded, Failure, failure,
    picture::OUTPUT_OFFSET_SECONDS,
    times::{Digest, Reorder, Times},
};

/// A fragment is written when it has this many samples,
const FRAGMENT_SAMPLES_MAX: usize = 512;
/// or this many bytes,
const FRAGMENT_BYTES_MAX: usize = 4 << 20;
/// or, before a sync sample, this long a time: half a second, in milliseconds.
const FRAGMENT_MS_MIN: i64 = 500;
/// The only track's number.
const TRACK_ID: u32 = 1;

/// A track on its way into a file.
pub(super) struct TrackFile {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    bytes_max: Option<u64>,
    lift_ms: i64,
    end_pts: Option<i64>,
    demuxer: mp4::Demuxer,
    track: Option<Track>,
    /// The newest sample: the next one tells its duration.
    newest: Option<Sample>,
    fragment: Vec<Sample>,
    sequence: u32,
    tally: Tally,
}

/// What has been written, in ticks of 90 kHz.
#[derive(Default)]
struct Tally {
    reorder: Reorder,
    frames: u64,
    first: Option<i64>,
    last: i64,
    /// From the last but one to the last.
    step: i64,
    digest: Digest,
    sync: Times,
    backwards: bool,
}

impl TrackFile {
    /// Makes or empties the file at `path`. `lift_ms` is added to all times; samples that are over by zero are left out: the
    /// silence with which an audio encoder begins.
    pub(super) async fn create(path: &Path, lift_ms: i64, bytes_max: Option<u64>) -> Result<Self, Failure> {
        let file = File::create(path).await.map_err(|error| failure::file(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
            bytes: 0,
            bytes_max,
            lift_ms,
            end_pts: None,
            demuxer: mp4::Demuxer::new(),
            track: None,
            newest: None,
            fragment: Vec::new(),
            sequence: 0,
            tally: Tally::default(),
        })
    }

    /// The last sample ends at `end_pts`, in ticks of 90 kHz, whatever its encoder says.
    pub(super) fn ends_at(mut self, end_pts: Option<i64>) -> Self {
        self.end_pts = end_pts;
        self
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes FFmpeg's output as it comes.
    pub(super) async fn push(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.demuxer.push(data).map_err(unreadable)?;
        while let Some(event) = self.demuxer.poll() {
            match event {
                mp4::Event::Track { track, .. } => self.begin(track).await?,
                mp4::Event::Chunk(chunk) => {
                    for sample in chunk.samples {
                        self.sample(sample).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn begin(&mut self, track: Track) -> Result<(), Failure> {
        match &self.track {
            None => {
                let init = mp4::init_segment(&track, TRACK_ID);
                self.track = Some(track);
                self.write(&init).await
            }
            Some(begun) if *begun == track => Ok(()),
            Some(_) => {
                let human =
                    "The track changes its format in the middle, and cannot be used as it is. Have it encoded anew.";
                Err(Failure::new(Class::Input, "format_changes", human))
            }
        }
    }

    async fn sample(&mut self, mut sample: Sample) -> Result<(), Failure> {
        let Some(track) = &self.track else { return Ok(()) };
        let scale = track.timescale;
        sample.dts += scale.from_ms(self.lift_ms) - OUTPUT_OFFSET_SECONDS * i64::from(scale.get());
        let pts = sample.pts();
        if pts < 0 {
            // A frame of sound that begins before the timeline cannot be written; the first one that does not tells where sound
            // begins. Pictures before it there are none.
            return if track.kind() == TrackKind::Audio { Ok(()) } else { Err(wild()) };
        }
        let earliest = self.newest.as_ref().map_or(0, |newest| newest.dts + 1);
        sample.dts = sample.dts.max(earliest);
        sample.cts_offset = i32::try_from(pts - sample.dts).map_err(|_| wild())?;
        self.tally.sample(rescale_nearest(pts, scale, Timescale::VIDEO), sample.sync);
        let dts = sample.dts;
        let Some(mut before) = self.newest.replace(sample) else { return Ok(()) };
        before.duration = u32::try_from(dts - before.dts).map_err(|_| wild())?;
        self.fragmented(before).await
    }

    async fn fragmented(&mut self, sample: Sample) -> Result<(), Failure> {
        let scale = self.timescale();
        let lasted = self.fragment.first().map_or(0, |first| sample.dts - first.dts);
        let long = sample.sync && scale.to_ms(lasted) >= FRAGMENT_MS_MIN;
        let bytes: usize = self.fragment.iter().map(|sample| sample.payload.len()).sum();
        if long || self.fragment.len() >= FRAGMENT_SAMPLES_MAX || bytes >= FRAGMENT_BYTES_MAX {
            self.write_fragment().await?;
        }
        self.fragment.push(sample);
        Ok(())
    }

    async fn write_fragment(&mut self) -> Result<(), Failure> {
        let samples = std::mem::take(&mut self.fragment);
        let Some(first) = samples.first() else { return Ok(()) };
        self.sequence += 1;
        let header = mp4::fragment_header(&mp4::Fragment {
            sequence: self.sequence,
            track_id: TRACK_ID,
            base_dts: u64::try_from(first.dts).map_err(|_| wild())?,
            samples: &samples,
            producer_reference: None,
            start_of_segment: false,
        });
        let payload = samples.iter().map(|sample| &*sample.payload);
        let fragment: Vec<u8> = std::iter::once(&*header).chain(payload).flatten().copied().collect();
        self.write(&fragment).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        if let Some(limit) = self.bytes_max.filter(|limit| self.bytes > *limit) {
            return Err(failure::disk_full(limit));
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).await.map_err(|error| failure::file(&self.path, &error))
    }

    fn timescale(&self) -> Timescale {
        self.track.as_ref().map_or(Timescale::VIDEO, |track| track.timescale)
    }

    /// Writes what is left; then the file is whole.
    ///
    /// # Errors
    /// `short_output` when FFmpeg's output was cut off, has no samples or goes back in time.
    pub(super) async fn finish(&mut self) -> Result<Written, Failure> {
        self.demuxer.finish().map_err(unreadable)?;
        self.tally.settle();
        let scale = self.timescale();
        let Some(mut last) = self.newest.take() else { return Err(failure::short_output("it has no samples")) };
        let like_before = self.fragment.last().map(|before| before.duration);
        let own = Some(last.duration).filter(|ticks| *ticks > 0);
        let to_end = self.end_pts.map(|end| rescale_nearest(end, Timescale::VIDEO, scale) - last.pts());
        let to_end = to_end.and_then(|ticks| u32::try_from(ticks).ok()).filter(|ticks| *ticks > 0);
        last.duration = own.or(like_before).or(to_end).unwrap_or(1);
        let last_ticks = rescale_nearest(last.duration.into(), scale, Timescale::VIDEO);
        self.fragmented(last).await?;
        self.write_fragment().await?;
        if let Some(mut file) = self.file.take() {
            let done = async {
                file.flush().await?;
                file.sync_data().await
            };
            done.await.map_err(|error| failure::file(&self.path, &error))?;
        }
        let tally = std::mem::take(&mut self.tally);
        let Some(first_pts) = tally.first else { return Err(failure::short_output("it has no samples")) };
        if tally.backwards {
            return Err(failure::short_output("its times go back"));
        }
        let step = if tally.step > 0 { tally.step } else { last_ticks };
        let end_pts = self.end_pts.filter(|end| *end > tally.last).unwrap_or(tally.last + step);
        let ms = ((end_pts - first_pts) / 90).max(1) as u64;
        let digest = tally.digest.hex();
        Ok(Written {
            encoded: Encoded {
                frames: tally.frames,
                first_pts,
                end_pts,
                digest: digest.clone(),
                source_frames: tally.frames,
                source_digest: digest,
                damaged: 0,
                bytes: self.bytes,
                kbps_mean: u32::try_from(self.bytes * 8 / ms).unwrap_or(u32::MAX),
                ssim: None,
                vmaf: None,
                cpu_ms: 0,
            },
            sync: tally.sync,
        })
    }

    /// Takes the unfinished file away.
    pub(super) async fn discard(path: &Path) {
        if let Err(error) = tokio::fs::remove_file(path).await {
            tracing::debug!(path = %path.display(), %error, "cannot remove an unfinished file");
        }
    }
}

/// A whole file.
pub(super) struct Written {
    pub(super) encoded: Encoded,
    /// Sync pictures.
    pub(super) sync: Times,
}

impl Tally {
    /// Takes samples in coding order.
    fn sample(&mut self, pts: i64, sync: bool) {
        if sync && (self.sync.first().is_none() || pts > self.sync.last()) {
            self.sync.push(pts);
        }
        if let Some(pts) = self.reorder.push(pts) {
            self.shown(pts);
        }
    }

    /// No more samples come.
    fn settle(&mut self) {
        while let Some(pts) = self.reorder.pop() {
            self.shown(pts);
        }
    }

    fn shown(&mut self, pts: i64) {
        if self.first.is_some() {
            self.backwards |= pts <= self.last;
            self.step = pts - self.last;
        } else {
            self.first = Some(pts);
        }
        self.frames += 1;
        self.last = pts;
        self.digest.add(pts);
    }
}

fn unreadable(error: media::Error) -> Failure {
    let failure = failure::short_output("what it wrote cannot be read");
    failure.with_log(error.to_string())
}

fn wild() -> Failure {
    let human = "The source's times are out of any order. Copy it into a new file (ffmpeg -i IN -c copy OUT.mkv) and send that.";
    Failure::new(Class::Input, "timeline_broken", human)
}
