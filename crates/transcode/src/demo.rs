//! The built-in channel: colour bars, a clock and a tone, made by FFmpeg and fed into the live room like any encoder's.

use std::time::{Duration, Instant};

use base::Timescale;
use media::Sample;
use tokio::{io::AsyncReadExt, process::Child, sync::mpsc, task::JoinHandle};

use crate::{
    Capabilities, Config, Error, Feed, Tool,
    backoff::Backoff,
    child::spawn,
    command::Args,
    progress::{LastWords, Lines},
    wire::{Made, Reader},
};

/// Samples made and not yet taken: a second of pictures and sound. A live room that does not take them slows the channel down.
const FEED_MAX: usize = 128;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Media time between the last sample of one child and the first of the next, in milliseconds: at least a picture.
const GAP_MS_MIN: i64 = 100;

/// FFmpeg's arguments for the colour-bar channel: 1280x720 at 60 frames per second with a moving mark, a burnt-in clock in UTC
/// with milliseconds where a font exists, a 440 Hz tone that beeps each second; a keyframe each second; FLV on standard
/// output in real time.
pub fn bars(tool: &Tool) -> Vec<String> {
    let mut args = Args::default();
    args.add("-hide_banner -nostdin -nostats -loglevel repeat+level+warning");
    args.add("-re -f lavfi -i");
    args.push(picture(tool.font.as_deref()));
    args.add("-re -f lavfi -i sine=frequency=440:sample_rate=48000:beep_factor=4");
    args.add("-map 0:v -map 1:a -c:v libx264 -preset ultrafast -tune zerolatency -profile:v high");
    args.add("-b:v 1400k -maxrate 1400k -bufsize 1400k -g 60 -keyint_min 60 -sc_threshold 0");
    args.add("-c:a aac -ac 2 -b:a 96k -flush_packets 1 -flvflags no_duration_filesize -f flv pipe:1");
    args.0
}

fn picture(font: Option<&str>) -> String {
    let mut graph = String::from("smptehdbars=size=1280x720:rate=60[bars];color=white:size=24x24:rate=60[mark];");
    graph.push_str("[bars][mark]overlay=x='mod(t*320,W)':y=H-64:shortest=1");
    if let Some(font) = font {
        graph.push_str(&format!(
            ",drawtext=fontfile='{font}':fontsize=72:fontcolor=white:box=1:boxcolor=black@0.7:boxborderw=16:"
        ));
        graph.push_str("x=(w-text_w)/2:y=(h-text_h)/2:text='");
        graph.push_str(r"%{gmtime\:%T}.%{eif\:mod(time(0)*1000\,1000)\:d\:3} UTC'");
    }
    graph.push_str(",format=yuv420p");
    graph
}

/// The running colour-bar channel. FFmpeg is started again when it ends or falls silent; dropping this ends it.
#[derive(Debug)]
pub struct DemoSource {
    feed: mpsc::Receiver<Feed>,
    task: JoinHandle<()>,
}

impl DemoSource {
    /// Starts the channel. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Absent`] without an FFmpeg that has libx264 and AAC.
    pub fn start(caps: &Capabilities, config: &Config) -> Result<Self, Error> {
        let tool = caps.tool().map_err(|reason| Error::Absent { reason: reason.to_owned() })?.clone();
        if !tool.aac || !tool.encoders.contains(&crate::Encoder::X264) {
            return Err(Error::Absent { reason: "the colour-bar channel needs libx264 and AAC".into() });
        }
        let (feed_in, feed) = mpsc::channel(FEED_MAX);
        let task = tokio::spawn(keep_on_air(tool, config.clone(), feed_in));
        Ok(Self { feed, task })
    }

    /// The next track or sample, on one timeline across restarts; [`Feed::KeyframeStart`] after one. `None` when FFmpeg
    /// has failed for good.
    pub async fn next(&mut self) -> Option<Feed> {
        self.feed.recv().await
    }
}

impl Drop for DemoSource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_on_air(tool: Tool, config: Config, feed: mpsc::Sender<Feed>) {
    let mut backoff = Backoff::new(&config);
    let mut timeline = Timeline { began: Instant::now(), offset_ms: 0, newest_ms: None };
    loop {
        timeline.resume();
        let began = Instant::now();
        let (reason, delivered) = one_child(&tool, &config, &feed, &mut timeline).await;
        if feed.is_closed() {
            return;
        }
        let Some(wait) = backoff.next(delivered.then(|| began.elapsed())) else {
            tracing::error!(reason, "the colour-bar channel has ended");
            return;
        };
        tracing::warn!(reason, wait_ms = wait.as_millis(), "the colour-bar channel starts again");
        tokio::time::sleep(wait).await;
        if feed.send(Feed::KeyframeStart).await.is_err() {
            return;
        }
    }
}

/// Runs one child to its end; why it ended, and whether it delivered anything.
async fn one_child(tool: &Tool, config: &Config, feed: &mpsc::Sender<Feed>, timeline: &mut Timeline) -> (String, bool) {
    let mut child = match spawn(tool, config.nice, &bars(tool)).await {
        Ok(child) => child,
        Err(error) => return (error.to_string(), false),
    };
    // Its end must not depend on a pipe that nobody writes to.
    drop(child.stdin.take());
    let last_words = listen(&mut child);
    let mut delivered = false;
    let reason = deliver(&mut child, config, feed, timeline, &mut delivered).await;
    let _ = child.kill().await;
    (format!("{reason}; {}", last_words.await.unwrap_or_default()), delivered)
}

/// Reads standard error to its end; the last lines.
fn listen(child: &mut Child) -> JoinHandle<String> {
    let stderr = child.stderr.take();
    tokio::spawn(async move {
        let (mut lines, mut last_words) = (Lines::default(), LastWords::default());
        let mut bytes = [0; 4096];
        if let Some(mut stderr) = stderr {
            while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
                lines.feed(bytes.get(..count).unwrap_or_default(), |line| last_words.line(line));
            }
        }
        last_words.shown()
    })
}

async fn deliver(
    child: &mut Child,
    config: &Config,
    feed: &mpsc::Sender<Feed>,
    timeline: &mut Timeline,
    delivered: &mut bool,
) -> String {
    let Some(mut stdout) = child.stdout.take() else { return "FFmpeg without pipes".into() };
    let mut reader = Reader::default();
    loop {
        let silence_ms = if *delivered { config.stall_ms } else { config.start_ms };
        reader.buffer_mut().reserve(READ_BYTES);
        match tokio::time::timeout(Duration::from_millis(silence_ms), stdout.read_buf(reader.buffer_mut())).await {
            Err(_) => return format!("FFmpeg was silent for {silence_ms} ms"),
            Ok(Err(error)) => return error.to_string(),
            Ok(Ok(0)) => return "FFmpeg ended".into(),
            Ok(Ok(_)) => *delivered = true,
        }
        loop {
            let unit = match reader.next() {
                Ok(None) => break,
                Ok(Some(Made::Track(track))) => Feed::Track(track),
                Ok(Some(Made::Sample(track, sample))) => {
                    Feed::Sample(track.kind(), timeline.moved(sample, track.timescale))
                }
                Err(error) => return error.to_string(),
            };
            if feed.send(unit).await.is_err() {
                return "nobody listens".into();
            }
        }
    }
}

/// One timeline over many children, each of which begins at zero.
#[derive(Debug)]
struct Timeline {
    began: Instant,
    offset_ms: i64,
    newest_ms: Option<i64>,
}

impl Timeline {
    /// The next child's zero is now, and behind everything so far.
    fn resume(&mut self) {
        if let Some(newest_ms) = self.newest_ms {
            let elapsed_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
            self.offset_ms = elapsed_ms.max(newest_ms.saturating_add(GAP_MS_MIN));
        }
    }

    fn moved(&mut self, mut sample: Sample, timescale: Timescale) -> Sample {
        sample.dts += timescale.from_ms(self.offset_ms);
        self.newest_ms = self.newest_ms.max(Some(timescale.to_ms(sample.dts)));
        sample
    }
}
