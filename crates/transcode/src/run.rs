//! One child's life: started, fed, read, and told apart in how it ends.

use std::{
    path::PathBuf,
    process::ExitStatus,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use media::{Track, TrackKind};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    process::{Child, ChildStdin},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    Config, Error, Plan, Tool,
    child::{self, Sockets},
    command,
    ladder::Shared,
    progress::{Counters, LastWords, Lines},
    queue::{Epoch, Taken},
    timeline::Timeline,
    wire::{Made, Reader, Writer},
};

/// Units read from all outputs and not yet taken: a fifth of a second of five renditions.
const MADE_MAX: usize = 64;
/// Bytes read from an output at once: more than a keyframe of an ordinary rendition.
const READ_BYTES: usize = 64 * 1024;
/// What FFmpeg says at every start because its analysis is kept short: no diagnosis.
const EXPECTED_WARNING: &str = "not enough frames to estimate rate; consider increasing probesize";
/// Wait for a killed child to be gone, in milliseconds. The kernel needs microseconds, or a working disk.
const KILL_MS_MAX: u64 = 2_000;

/// A running child with its tasks. Dropping it kills the child and ends the tasks.
pub(crate) struct Run {
    child: Child,
    tasks: JoinSet<Ending>,
    made: mpsc::Receiver<(usize, Made)>,
    timeline: Arc<Mutex<Timeline>>,
    diagnosis: Arc<Mutex<Diagnosis>>,
    fed: Arc<AtomicBool>,
    exit: Option<ExitStatus>,
    _sockets: Sockets,
}

/// What the child says of itself.
#[derive(Debug, Default)]
struct Diagnosis {
    counters: Counters,
    last_words: LastWords,
}

/// How a task of a run ended.
#[derive(Debug)]
enum Ending {
    /// As it should: the end of a stream.
    Done,
    /// The source has changed.
    EpochOver,
    /// An output that cannot be understood.
    Broken(Error),
}

/// What a run says next.
#[derive(Debug)]
pub(crate) enum Next {
    /// The rendition (an index into the plan) made something.
    Made(usize, Made),
    /// The child has ended, and everything it had made has been read.
    Exited,
    /// The source has changed so that this child cannot follow.
    EpochOver,
    /// The child makes what cannot be understood.
    Broken(Error),
}

/// What a run is started with.
pub(crate) struct Start<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tool: &'a Tool,
    pub(crate) config: &'a Config,
    /// Indexes of the renditions to make.
    pub(crate) active: &'a [usize],
    pub(crate) epoch: &'a Epoch,
    pub(crate) tracks: (Track, Option<Track>),
    pub(crate) shared: Arc<Shared>,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Run {
    /// Starts the child.
    ///
    /// # Errors
    /// [`Error::Spawn`] or [`Error::Sockets`].
    pub(crate) async fn start(start: Start<'_>) -> Result<Self, Error> {
        let parent = PathBuf::from(&start.config.socket_dir);
        let (sockets, listeners) = Sockets::bind(&parent, start.active.len())?;
        let renditions = start.active.iter().filter_map(|&index| start.plan.renditions.get(index));
        let paths = listeners.iter().map(|(_, path)| path.clone());
        let outputs: Vec<_> = renditions.zip(paths).collect();
        // Threads by the machine, not by what the plan may take of it: idle ones cost nothing, missing ones delay.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let args = command::ladder(start.plan, start.tool, &outputs, cores);
        let mut child = child::spawn(start.tool, start.config.nice, &args).await?;

        let (made_in, made) = mpsc::channel(MADE_MAX);
        let timeline = Arc::new(Mutex::new(Timeline::default()));
        let diagnosis = Arc::new(Mutex::new(Diagnosis::default()));
        let fed = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (&index, (listener, path)) in start.active.iter().zip(listeners) {
            tasks.spawn(read_output(index, listener, path, made_in.clone()));
        }
        if let Some(stdin) = child.stdin.take() {
            let feeder = Feeder {
                shared: start.shared,
                epoch: start.epoch.number,
                tracks: start.tracks,
                timeline: timeline.clone(),
                fed: fed.clone(),
                stopped: start.stopped,
            };
            tasks.spawn(feeder.feed(stdin));
        }
        if let Some(stdout) = child.stdout.take() {
            let diagnosis = diagnosis.clone();
            tasks.spawn(read_lines(stdout, move |line| lock(&diagnosis).counters.line(line)));
        }
        if let Some(stderr) = child.stderr.take() {
            let diagnosis = diagnosis.clone();
            tasks.spawn(read_lines(stderr, move |line| {
                tracing::debug!(line, "FFmpeg");
                if !line.ends_with(EXPECTED_WARNING) {
                    lock(&diagnosis).last_words.line(line);
                }
            }));
        }
        Ok(Self { child, tasks, made, timeline, diagnosis, fed, exit: None, _sockets: sockets })
    }

    /// The child's process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// What happens next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            tokio::select! {
                biased;
                Some((index, made)) = self.made.recv() => return Next::Made(index, self.on_source_timeline(made)),
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(Ending::EpochOver) => return Next::EpochOver,
                    Ok(Ending::Broken(error)) => return Next::Broken(error),
                    // A panic was in our own reading or writing: the child will be found silent or gone.
                    Ok(Ending::Done) | Err(_) => {}
                },
                status = self.child.wait(), if self.exit.is_none() => {
                    // What it had written before its end is still in the sockets.
                    self.exit = Some(status.unwrap_or_default());
                }
                else => return Next::Exited,
            }
        }
    }

    /// Whether the child has ended, although more of what it made may follow.
    pub(crate) fn has_exited(&self) -> bool {
        self.exit.is_some()
    }

    /// How the child ended: `signal: 9 (SIGKILL)`.
    pub(crate) fn exit_text(&self) -> String {
        self.exit.map_or_else(|| "nothing yet".into(), |status| status.to_string())
    }

    /// Whether it has been given a sample.
    pub(crate) fn is_fed(&self) -> bool {
        self.fed.load(Ordering::Relaxed)
    }

    /// FFmpeg's own counters.
    pub(crate) fn counters(&self) -> Counters {
        lock(&self.diagnosis).counters
    }

    /// FFmpeg's last lines on standard error.
    pub(crate) fn last_words(&self) -> String {
        lock(&self.diagnosis).last_words.shown()
    }

    /// Kills the child and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        if self.child.start_kill().is_ok() {
            let gone = tokio::time::timeout(Duration::from_millis(KILL_MS_MAX), self.child.wait()).await;
            if gone.is_err() {
                tracing::error!(pid = self.child.id(), "FFmpeg does not die: it hangs in the kernel");
            }
        }
    }

    fn on_source_timeline(&self, made: Made) -> Made {
        match made {
            Made::Sample(track, sample) => {
                let picture = track.kind() == TrackKind::Video;
                let sample = lock(&self.timeline).leave(sample, track.timescale, picture);
                Made::Sample(track, sample)
            }
            track => track,
        }
    }
}

/// The child's standard input.
struct Feeder {
    shared: Arc<Shared>,
    epoch: u64,
    tracks: (Track, Option<Track>),
    timeline: Arc<Mutex<Timeline>>,
    fed: Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
}

impl Feeder {
    async fn feed(mut self, mut stdin: ChildStdin) -> Ending {
        // An error says that the child is gone or going: its exit tells the reason.
        self.feed_all(&mut stdin).await.unwrap_or(Ending::Done)
    }

    async fn feed_all(&mut self, stdin: &mut ChildStdin) -> std::io::Result<Ending> {
        let (video, audio) = self.tracks.clone();
        let writer = Writer::new(video, audio);
        let mut out = BytesMut::new();
        writer.begin(&mut out);
        loop {
            let taken = self.shared.lock().take(self.epoch);
            match taken {
                Taken::EpochOver => return Ok(Ending::EpochOver),
                Taken::Sample(kind, sample) => {
                    let timescale = writer.track(kind).timescale;
                    let inside = lock(&self.timeline).enter(&sample, timescale, kind == TrackKind::Video);
                    writer.sample(kind, &inside, &mut out);
                    stdin.write_all(&out).await?;
                    out.clear();
                    self.fed.store(true, Ordering::Relaxed);
                }
                Taken::Nothing if *self.stopped.borrow() => return Ok(Ending::Done),
                Taken::Nothing => tokio::select! {
                    () = self.shared.filled.notified() => {}
                    changed = self.stopped.changed() => if changed.is_err() { return Ok(Ending::Done) },
                },
            }
        }
    }
}

async fn read_output(
    rendition: usize,
    listener: UnixListener,
    path: PathBuf,
    made: mpsc::Sender<(usize, Made)>,
) -> Ending {
    let Ok((mut socket, _)) = listener.accept().await else { return Ending::Done };
    // One connection each: nobody else can come in.
    drop(listener);
    let _ = std::fs::remove_file(path);
    let mut reader = Reader::default();
    loop {
        reader.buffer_mut().reserve(READ_BYTES);
        match socket.read_buf(reader.buffer_mut()).await {
            Ok(0) | Err(_) => return Ending::Done,
            Ok(_) => {}
        }
        loop {
            match reader.next() {
                Ok(Some(unit)) => {
                    if made.send((rendition, unit)).await.is_err() {
                        return Ending::Done;
                    }
                }
                Ok(None) => break,
                Err(error) => return Ending::Broken(error),
            }
        }
    }
}

async fn read_lines(mut from: impl AsyncRead + Unpin, mut line: impl FnMut(&str)) -> Ending {
    let mut lines = Lines::default();
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        lines.feed(bytes.get(..count).unwrap_or_default(), &mut line);
    }
    Ending::Done
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
