//! Sources made by FFmpeg, a ladder with its events collected, and signals.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use media::{
    Sample, Track, TrackKind,
    flv::{Demuxer, Muxer, Unit},
};
use transcode::{Capabilities, Config, Event, Feed, Ladder, LadderEvents, Overflow, Plan, Preset, Source};

/// Nothing that these tests wait for takes longer on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What a publisher would send.
pub(crate) struct Published {
    pub(crate) video: Track,
    pub(crate) audio: Option<Track>,
    /// In the order of the file.
    pub(crate) samples: Vec<(TrackKind, Sample)>,
}

impl Published {
    /// Four seconds with a keyframe each second; `video` are encoder options.
    pub(crate) fn make(size: &str, rate: u32, video: &str) -> Self {
        let picture = format!("testsrc2=size={size}:rate={rate},format=yuv420p");
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", &picture]);
        command.args("-f lavfi -i sine=frequency=440:sample_rate=48000 -t 4 -c:v libx264 -preset ultrafast".split(' '));
        command.args(["-g", &rate.to_string(), "-sc_threshold", "0", "-pix_fmt", "yuv420p"]);
        command.args(video.split_whitespace());
        command.args("-c:a aac -b:a 64k -f flv pipe:1".split(' '));
        let output = command.output().expect("these tests need ffmpeg: install it (apt install ffmpeg)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self::read(&output.stdout)
    }

    fn read(flv: &[u8]) -> Self {
        let mut demuxer = Demuxer::new();
        demuxer.push(flv);
        let (mut video, mut audio, mut samples) = (None, None, Vec::new());
        while let Some((kind, unit)) = demuxer.next_unit().unwrap() {
            match (kind, unit) {
                (TrackKind::Video, Unit::Track { track, .. }) => video = Some(track),
                (TrackKind::Audio, Unit::Track { track, .. }) => audio = Some(track),
                (kind, Unit::Sample { sample, .. }) => samples.push((kind, sample)),
                (_, Unit::End) => {}
            }
        }
        Self { video: video.unwrap(), audio, samples }
    }

    pub(crate) fn source(&self) -> Source {
        Source { video: self.video.clone(), audio: self.audio.clone(), frame_rate: None, video_kbps: None }
    }

    /// The video samples of the GOPs `range`, the first being 0.
    pub(crate) fn gops(&self, range: std::ops::Range<usize>) -> Vec<Sample> {
        let mut gop = 0;
        let video = self.samples.iter().filter(|(kind, _)| *kind == TrackKind::Video).map(|(_, sample)| sample);
        let numbered = video.map(|sample| {
            gop += usize::from(sample.sync);
            (gop - 1, sample.clone())
        });
        numbered.filter(|(gop, _)| range.contains(gop)).map(|(_, sample)| sample).collect()
    }

    pub(crate) fn keyframe_pts(&self) -> Vec<i64> {
        self.gops(0..usize::MAX).iter().filter(|sample| sample.sync).map(Sample::pts).collect()
    }
}

/// A ladder, and everything it has said so far.
pub(crate) struct Bench {
    pub(crate) ladder: Ladder,
    events: LadderEvents,
    pub(crate) tracks: BTreeMap<usize, Track>,
    pub(crate) samples: BTreeMap<usize, Vec<Sample>>,
    /// Everything but tracks, samples and progress.
    pub(crate) others: Vec<Event>,
}

impl Bench {
    pub(crate) fn start(plan: Plan, config: &Config) -> Self {
        let (ladder, events) = Ladder::start(plan, config, "test/stream");
        Self { ladder, events, tracks: BTreeMap::new(), samples: BTreeMap::new(), others: Vec::new() }
    }

    pub(crate) fn push(&self, samples: impl IntoIterator<Item = Sample>) -> Result<(), Overflow> {
        samples.into_iter().try_for_each(|sample| self.ladder.push(Feed::Sample(TrackKind::Video, sample)))
    }

    /// Reads events until `done`.
    pub(crate) async fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !done(self) {
            let event = tokio::time::timeout_at(deadline, self.events.next()).await;
            let Ok(event) = event else { panic!("no {what}; so far {:?}", self.others) };
            let event = event.unwrap_or_else(|| panic!("the ladder ended without {what}; so far {:?}", self.others));
            self.note(event);
        }
    }

    /// Stops the ladder and reads what is left.
    pub(crate) async fn stop(self) -> (BTreeMap<usize, Track>, BTreeMap<usize, Vec<Sample>>) {
        let Self { ladder, mut events, mut tracks, mut samples, .. } = self;
        let reading = async {
            while let Some(event) = events.next().await {
                match event {
                    Event::Track { rendition, track } => drop(tracks.insert(rendition, track)),
                    Event::Sample { rendition, sample } => samples.entry(rendition).or_default().push(sample),
                    _ => {}
                }
            }
        };
        tokio::join!(ladder.stop(), reading);
        (tracks, samples)
    }

    pub(crate) fn newest_pts(&self, rendition: usize) -> Option<i64> {
        self.samples.get(&rendition)?.last().map(Sample::pts)
    }

    pub(crate) fn has_other(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.others.iter().any(wanted)
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Track { rendition, track } => drop(self.tracks.insert(rendition, track)),
            Event::Sample { rendition, sample } => self.samples.entry(rendition).or_default().push(sample),
            Event::Progress(_) => {}
            other => self.others.push(other),
        }
    }
}

/// A plan for all of this machine and more: what is made does not depend on where the test runs.
pub(crate) async fn plan(preset: &str, source: &Source) -> Plan {
    let caps = capabilities().await;
    transcode::plan(&Preset::named(preset).unwrap(), source, &caps, 64)
}

pub(crate) async fn capabilities() -> Capabilities {
    let caps = Capabilities::probe(&Config::default()).await;
    assert!(caps.tool().is_ok(), "these tests need ffmpeg: {:?}", caps.tool());
    caps
}

pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success());
}

/// Whether a process runs; one that is dead and not yet collected does not (proc(5), the state behind the name).
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until `pid` is gone.
pub(crate) fn assert_goes_away(pid: u32) {
    let deadline = Instant::now() + DEADLINE;
    while is_running(pid) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::yield_now();
    }
}

/// Decodes samples with FFmpeg; it must have nothing to complain about, and see as many pictures as there are samples.
pub(crate) fn assert_decodes(track: &Track, samples: &[Sample]) {
    let mut flv = BytesMut::new();
    let muxer = Muxer::new();
    muxer.start(&[track], &mut flv);
    samples.iter().for_each(|sample| muxer.sample(track, sample, &mut flv));
    let mut command = Command::new("ffmpeg");
    command.args(
        "-hide_banner -loglevel error -xerror -f flv -i pipe:0 -fps_mode passthrough -f framecrc pipe:1".split(' '),
    );
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&flv));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let pictures = String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(pictures, samples.len());
}
