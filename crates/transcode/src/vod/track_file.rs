//! FFmpeg's output on its way into a file: read, checked, dated anew, and written as the one track of a fragmented MP4.
//!
//! In the file decoding times are the presentation times in rising order, so that composition offsets may be negative
//! (ISO/IEC 14496-12 8.8.8, `trun` version 1) and pieces join without a gap or an overlap however their encoders
//! reordered pictures.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

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
    /// In coding order, waiting for their decoding times.
    undated: VecDeque<Sample>,
    reorder: Reorder,
    /// The newest dated sample: the next one tells its duration.
    newest: Option<Sample>,
    fragment: Vec<Sample>,
    sequence: u32,
    tally: Tally,
}

/// What has been written, in ticks of 90 kHz.
#[derive(Default)]
struct Tally {
    frames: u64,
    first: Option<i64>,
    end: i64,
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
            undated: VecDeque::new(),
            reorder: Reorder::default(),
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
        if track.kind() == TrackKind::Audio {
            // A frame that begins before the timeline cannot be written; the first one that does not tells where sound begins.
            return if sample.dts < 0 { Ok(()) } else { self.dated(sample).await };
        }
        let dts = self.reorder.push(sample.pts());
        self.undated.push_back(sample);
        self.date(dts).await
    }

    /// The next sample in coding order gets the next time in presentation order.
    async fn date(&mut self, dts: Option<i64>) -> Result<(), Failure> {
        let Some((dts, mut sample)) = dts.and_then(|dts| Some((dts, self.undated.pop_front()?))) else { return Ok(()) };
        let pts = sample.pts();
        sample.dts = dts;
        sample.cts_offset = i32::try_from(pts - dts).map_err(|_| wild())?;
        if dts < 0 {
            return Err(wild());
        }
        self.dated(sample).await
    }

    async fn dated(&mut self, sample: Sample) -> Result<(), Failure> {
        let dts = sample.dts;
        let Some(mut before) = self.newest.replace(sample) else { return Ok(()) };
        // Times that stand still or go back are counted, and judged at the end.
        before.duration = u32::try_from((dts - before.dts).max(0)).map_err(|_| wild())?;
        self.fragmented(before).await
    }

    async fn fragmented(&mut self, sample: Sample) -> Result<(), Failure> {
        let scale = self.timescale();
        self.tally.sample(&sample, scale);
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
        while let Some(dts) = self.reorder.pop() {
            self.date(Some(dts)).await?;
        }
        let scale = self.timescale();
        if let Some(mut last) = self.newest.take() {
            let end = self.end_pts.map(|end| rescale_nearest(end, Timescale::VIDEO, scale));
            let told = end.and_then(|end| u32::try_from(end - last.dts).ok()).filter(|ticks| *ticks > 0);
            let like_before = self.fragment.last().map(|before| before.duration);
            last.duration = told.or(Some(last.duration).filter(|ticks| *ticks > 0)).or(like_before).unwrap_or(1);
            self.fragmented(last).await?;
        }
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
        let ms = ((tally.end - first_pts) / 90).max(1) as u64;
        let digest = tally.digest.hex();
        Ok(Written {
            encoded: Encoded {
                frames: tally.frames,
                first_pts,
                end_pts: tally.end,
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
    /// Decoding times are the presentation times in order.
    fn sample(&mut self, sample: &Sample, scale: Timescale) {
        let pts = rescale_nearest(sample.dts, scale, Timescale::VIDEO);
        self.backwards |= self.frames > 0 && pts < self.end;
        self.frames += 1;
        self.first.get_or_insert(pts);
        self.end = rescale_nearest(sample.dts + i64::from(sample.duration), scale, Timescale::VIDEO);
        self.digest.add(pts);
        if sample.sync && (self.sync.first().is_none() || sample.pts() > self.sync.last()) {
            self.sync.push(sample.pts());
        }
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
