//! One run of FFmpeg or ffprobe: a process group under limits, read to its end or killed as a whole.
//!
//! Three pipes come back from the child. Standard output carries media, standard error words for people, and FFmpeg's standard
//! input, which it does not read, is the writing end of a third pipe: progress and lists of frames, a line in one write each.

use std::{
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    process::{Child, Command},
    task::JoinSet,
    time::Instant,
};

use super::{
    Cancel, Failure, Input, Limits,
    failure::{self, Class},
    features::Features,
    input::redact,
};
use crate::{
    Tool,
    child::spawn_on_lasting_thread,
    progress::{LastWords, Lines},
};

/// Bytes read from a pipe at once: what a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// Wait for a killed group to be gone, in milliseconds; the kernel needs microseconds, or a working disk.
const KILL_MS_MAX: u64 = 2_000;
/// What FFmpeg says of inputs and outputs as they are used here, and is no diagnosis.
const EXPECTED_WARNINGS: [&str; 5] = [
    "The bitrate parameter is set too low",
    "not enough frames to estimate rate",
    "deprecated pixel format used",
    "Using AVStream.codec",
    "No accelerated colorspace conversion",
];

/// What all runs of one step share.
pub(super) struct Step<'a> {
    pub(super) tool: &'a Tool,
    pub(super) input: &'a Input,
    pub(super) limits: &'a Limits,
    pub(super) cancel: &'a Cancel,
    deadline: Option<Instant>,
}

/// Which program to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Ffmpeg,
    Ffprobe,
}

/// What a child has for its standard input.
enum Front {
    Nothing,
    /// The writing end of the third pipe.
    Side,
    /// Something to read.
    Media(Vec<u8>),
}

/// Takes what a child says. All methods must return soon.
pub(super) trait Listener: Send {
    /// Bytes of standard output.
    fn data(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// A line of the third pipe; true when it shows that the work advances.
    fn line(&mut self, line: &str) -> bool;

    /// A line of standard error.
    fn said(&mut self, _line: &str) {}
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) log: String,
    /// Processor time, in milliseconds.
    pub(super) cpu_ms: u64,
    /// Errors of decoders or demuxers, in lines.
    pub(super) complaints: u64,
}

impl<'a> Step<'a> {
    /// The wall time of the step begins to count.
    pub(super) fn begin(tool: &'a Tool, input: &'a Input, limits: &'a Limits, cancel: &'a Cancel) -> Self {
        let deadline = limits.wall_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        Self { tool, input, limits, cancel, deadline }
    }

    /// Runs `program` to its end.
    ///
    /// # Errors
    /// The listener's; or why it was killed; or what its last words say when its exit status is not 0.
    pub(super) async fn run(
        &self,
        program: Program,
        args: Vec<String>,
        listener: &mut impl Listener,
    ) -> Result<Ended, Failure> {
        let front = if program == Program::Ffmpeg { Front::Side } else { Front::Nothing };
        self.run_with(program, args, front, listener).await
    }

    /// Runs FFmpeg with `media` on its standard input; there is no third pipe then, so the listener gets no lines.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub(super) async fn run_fed(
        &self,
        args: Vec<String>,
        media: Vec<u8>,
        listener: &mut impl Listener,
    ) -> Result<Ended, Failure> {
        self.run_with(Program::Ffmpeg, args, Front::Media(media), listener).await
    }

    async fn run_with(
        &self,
        program: Program,
        args: Vec<String>,
        front: Front,
        listener: &mut impl Listener,
    ) -> Result<Ended, Failure> {
        let features = Features::of(self.tool).await?;
        let mut group = Group::start(self, &features, program, &args, front).await?;
        let outcome = self.attend(&mut group, listener).await;
        let log = redact(self.input, &group.words.all());
        match outcome {
            Ok(status) if status.success() => Ok(Ended { log, cpu_ms: group.cpu_ms, complaints: group.complaints }),
            Ok(status) => {
                group.kill().await;
                Err(failure::of_exit(status, self.input, log))
            }
            Err(mut failure) => {
                group.kill().await;
                if failure.log.is_empty() {
                    failure.log = log;
                }
                Err(failure)
            }
        }
    }

    async fn attend(&self, group: &mut Group, listener: &mut impl Listener) -> Result<ExitStatus, Failure> {
        let stall = Duration::from_millis(self.limits.stall_ms.max(1));
        let mut advanced = Instant::now();
        let mut side_lines = Lines::default();
        let mut error_lines = Lines::default();
        let mut buffers = (vec![0; READ_BYTES], vec![0; READ_BYTES], vec![0; READ_BYTES]);
        loop {
            let open = (group.data.is_some(), group.side.is_some(), group.errors.is_some());
            let all_read = open == (false, false, false);
            if all_read {
                group.note_cpu();
            }
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(failure::cancelled()),
                () = until(self.deadline) => return Err(failure::wall(self.limits.wall_ms.unwrap_or(0))),
                () = tokio::time::sleep_until(advanced + stall) => return Err(failure::stalled(self.limits.stall_ms)),
                read = read(&mut group.errors, &mut buffers.2), if open.2 => {
                    let words = &mut group.words;
                    let complaints = &mut group.complaints;
                    error_lines.feed(read, |line| {
                        listener.said(line);
                        if !line.contains("[info]") && !EXPECTED_WARNINGS.iter().any(|known| line.contains(known)) {
                            *complaints += u64::from(line.contains("[error]"));
                            words.line(line);
                        }
                    });
                }
                read = read(&mut group.side, &mut buffers.1), if open.1 => {
                    let mut moved = false;
                    side_lines.feed(read, |line| moved |= listener.line(line));
                    if moved {
                        advanced = Instant::now();
                    }
                }
                read = read(&mut group.data, &mut buffers.0), if open.0 => {
                    listener.data(read).await?;
                    advanced = Instant::now();
                }
                status = group.child.wait(), if all_read => {
                    return status.map_err(|error| failure::spawn(&self.tool.ffmpeg, &error));
                }
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Reads what there is; the pipe is closed when nothing more comes.
async fn read<'b>(pipe: &mut Option<impl AsyncRead + Unpin>, buffer: &'b mut [u8]) -> &'b [u8] {
    let Some(open) = pipe else { return &[] };
    let count = open.read(buffer).await.unwrap_or(0);
    if count == 0 {
        *pipe = None;
    }
    buffer.get(..count).unwrap_or_default()
}

/// A running process group; dropping it kills all of it.
struct Group {
    child: Child,
    pid: Option<Pid>,
    data: Option<tokio::process::ChildStdout>,
    side: Option<pipe::Receiver>,
    errors: Option<tokio::process::ChildStderr>,
    words: LastWords,
    complaints: u64,
    cpu_ms: u64,
    /// Ends with the group.
    _feeder: JoinSet<()>,
}

impl Group {
    async fn start(
        step: &Step<'_>,
        features: &Features,
        program: Program,
        args: &[String],
        front: Front,
    ) -> Result<Self, Failure> {
        let words = command_line(step, features, program, args);
        let (name, rest) = words.split_first().expect("a program is always among the words");
        let spawn_failed = |error: std::io::Error| failure::spawn(name, &error);
        let mut command = Command::new(name);
        command.args(rest).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).process_group(0).env("AV_LOG_FORCE_NOCOLOR", "1");
        let (mut side, mut feeder) = (None, JoinSet::new());
        match front {
            Front::Nothing => drop(command.stdin(Stdio::null())),
            Front::Side => {
                let (reader, writer) = std::io::pipe().map_err(spawn_failed)?;
                command.stdin(Stdio::from(OwnedFd::from(writer)));
                side = Some(pipe::Receiver::from_owned_fd(reader.into()).map_err(spawn_failed)?);
            }
            Front::Media(media) => {
                let (reader, writer) = std::io::pipe().map_err(spawn_failed)?;
                command.stdin(Stdio::from(OwnedFd::from(reader)));
                let mut writer = pipe::Sender::from_owned_fd(writer.into()).map_err(spawn_failed)?;
                feeder.spawn(async move {
                    // A child that has seen enough, or has failed, closes its end: its exit status tells which.
                    let _ = writer.write_all(&media).await;
                });
            }
        }
        tracing::debug!(words = redact(step.input, &words.join(" ")), "starting");
        let mut child = spawn_on_lasting_thread(command).await.map_err(spawn_failed)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let (data, errors) = (child.stdout.take(), child.stderr.take());
        let words = LastWords::default();
        Ok(Self { child, pid, data, side, errors, words, complaints: 0, cpu_ms: 0, _feeder: feeder })
    }

    /// The leader has not been waited for: even when it has ended, its counters are there (proc(5), utime and stime).
    fn note_cpu(&mut self) {
        /// Linux counts in hundredths of a second for every program (USER_HZ).
        const TICK_MS: u64 = 10;
        let Some(pid) = self.pid else { return };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        let behind_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: u64 = behind_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        self.cpu_ms = self.cpu_ms.max(ticks * TICK_MS);
    }

    /// Kills everybody in the group and waits until the leader is gone.
    async fn kill(&mut self) {
        self.kill_now();
        if tokio::time::timeout(Duration::from_millis(KILL_MS_MAX), self.child.wait()).await.is_err() {
            tracing::error!(pid = self.child.id(), "FFmpeg does not die: it hangs in the kernel");
        }
    }

    fn kill_now(&mut self) {
        // The group's number cannot be another's: its leader is not waited for, or was a moment ago.
        if let Some(pid) = self.pid.take() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill_now();
    }
}

fn command_line(step: &Step<'_>, features: &Features, program: Program, args: &[String]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let limits = step.limits;
    if step.tool.nice && limits.nice > 0 {
        words.extend(["nice".into(), "-n".into(), limits.nice.min(19).to_string()]);
    }
    if features.prlimit {
        let held = [("cpu", limits.cpu_seconds), ("as", limits.memory_bytes), ("fsize", limits.file_bytes)];
        let held: Vec<_> = held.into_iter().filter_map(|(name, limit)| Some(format!("--{name}={}", limit?))).collect();
        if !held.is_empty() {
            words.push("prlimit".into());
            words.extend(held);
        }
    }
    if step.tool.setpriv {
        words.extend(["setpriv".into(), "--pdeathsig".into(), "KILL".into()]);
    }
    words.push(match program {
        Program::Ffmpeg => step.tool.ffmpeg.clone(),
        Program::Ffprobe => features.ffprobe.clone(),
    });
    words.extend_from_slice(args);
    words
}

/// Keeps all of a short text on standard output.
pub(super) struct Text {
    pub(super) text: Vec<u8>,
    limit: usize,
}

impl Text {
    /// Fails over `limit` bytes.
    pub(super) fn up_to(limit: usize) -> Self {
        Self { text: Vec::new(), limit }
    }
}

impl Listener for Text {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.text.len() + bytes.len() > self.limit {
            return Err(Failure::new(
                Class::Input,
                "too_much",
                "The file describes more than this platform reads. Convert it to MP4 or MKV and try again.",
            ));
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, _line: &str) -> bool {
        true
    }
}

/// FFmpeg's `-progress` lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) out_time_ms: Option<i64>,
    pub(super) fps: Option<f64>,
    frame: u64,
}

impl Report {
    /// Takes in one line: none when it is not of progress, else whether it shows an advance.
    pub(super) fn line(&mut self, line: &str) -> Option<bool> {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let before = (self.out_time_ms, self.frame);
        match key {
            "out_time_us" => self.out_time_ms = value.parse::<i64>().ok().map(|us| us / 1_000).or(self.out_time_ms),
            "frame" => self.frame = value.parse().unwrap_or(self.frame),
            "fps" => self.fps = value.parse().ok(),
            _ => {}
        }
        Some(before != (self.out_time_ms, self.frame))
    }
}
