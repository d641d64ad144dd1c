//! A child process that does not outlive the server, and the sockets it writes to.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    net::UnixListener,
    process::{Child, Command},
    sync::{mpsc, oneshot},
};

use crate::{Error, Tool};

/// Starts waiting for the spawning thread; each takes about a millisecond.
const SPAWNS_WAITING_MAX: usize = 64;
/// A directory of sockets is in use only while FFmpeg starts; one this old, in seconds, can be a dead server's.
const ABANDONED_SECONDS: u64 = 3_600;
/// The directories of the sockets are called this, the server's process id and a number.
const SOCKET_PREFIX: &str = "headwater-";

/// Starts FFmpeg with pipes on all three standard streams: at a lower priority, in a process group of its own (a Ctrl-C at the
/// terminal is the server's to handle), killed when dropped, and killed by the kernel when the server dies where
/// `setpriv` can arrange that. Without it, FFmpeg ends by itself at the end of its input.
///
/// # Errors
/// [`Error::Spawn`].
pub(crate) async fn spawn(tool: &Tool, nice: u32, args: &[String]) -> Result<Child, Error> {
    let mut words: Vec<&str> = Vec::new();
    let niceness = nice.min(19).to_string();
    if tool.nice && nice > 0 {
        words.extend(["nice", "-n", &niceness]);
    }
    if tool.setpriv {
        words.extend(["setpriv", "--pdeathsig", "KILL"]);
    }
    words.push(&tool.ffmpeg);
    words.extend(args.iter().map(String::as_str));
    let (program, rest) = words.split_first().expect("FFmpeg's name is always among the words");
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).process_group(0).env("AV_LOG_FORCE_NOCOLOR", "1");
    tracing::debug!(?words, "starting FFmpeg");
    spawn_on_lasting_thread(command).await.map_err(|source| Error::Spawn { program: tool.ffmpeg.clone(), source })
}

struct Job {
    command: Command,
    runtime: tokio::runtime::Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// The parent-death signal is sent when the *thread* that spawned the child ends (prctl(2), PR_SET_PDEATHSIG), and threads of
/// a runtime come and go: one thread, which never ends, starts all children.
pub(crate) async fn spawn_on_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs_in, jobs) = mpsc::channel(SPAWNS_WAITING_MAX);
        let thread = std::thread::Builder::new().name("ffmpeg-spawner".into());
        if let Err(error) = thread.spawn(move || spawn_all(jobs)) {
            tracing::error!(%error, "the thread that starts FFmpeg cannot be started");
        }
        jobs_in
    });
    let (answer, answered) = oneshot::channel();
    let gone = || io::Error::other("the thread that starts FFmpeg is gone");
    let job = Job { command, runtime: tokio::runtime::Handle::current(), answer };
    spawner.send(job).await.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

fn spawn_all(mut jobs: mpsc::Receiver<Job>) {
    while let Some(Job { mut command, runtime, answer }) = jobs.blocking_recv() {
        // A panic (a runtime that is shutting down) must not end this thread: that would kill every child.
        let spawned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _inside = runtime.enter();
            command.spawn()
        }));
        // When nobody waits any more, the child comes back in the error and is killed by its drop.
        let _ = answer.send(spawned.unwrap_or_else(|_| Err(io::Error::other("the runtime is shutting down"))));
    }
}

/// One listening socket per output in a private directory, which goes away with this.
#[derive(Debug)]
pub(crate) struct Sockets {
    directory: PathBuf,
}

impl Sockets {
    /// Makes `count` sockets in a new directory in `parent` that only this user can enter.
    ///
    /// # Errors
    /// [`Error::Sockets`].
    pub(crate) fn bind(parent: &Path, count: usize) -> Result<(Self, Vec<(UnixListener, PathBuf)>), Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        sweep_once(parent);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = parent.join(format!("{SOCKET_PREFIX}{}-{number}", std::process::id()));
        let failed = |path: &Path, source| Error::Sockets { path: path.to_owned(), source };
        // A directory of this name is of a dead process with the same id.
        let _ = std::fs::remove_dir_all(&directory);
        DirBuilder::new().mode(0o700).create(&directory).map_err(|source| failed(&directory, source))?;
        let sockets = Self { directory };
        let paths = (0..count).map(|index| sockets.directory.join(index.to_string()));
        let bound = paths.map(|path| match UnixListener::bind(&path) {
            Ok(listener) => Ok((listener, path)),
            Err(source) => Err(failed(&path, source)),
        });
        let bound = bound.collect::<Result<_, _>>()?;
        Ok((sockets, bound))
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove the sockets' directory");
        }
    }
}

/// Removes what servers that were killed left behind, once per process; where process ids cannot be looked up, nothing.
/// What is young may belong to a server that lives where this one cannot see it, in another container.
fn sweep_once(parent: &Path) {
    static SWEPT: OnceLock<()> = OnceLock::new();
    SWEPT.get_or_init(|| {
        let Ok(entries) = std::fs::read_dir(parent) else { return };
        for entry in entries.flatten() {
            let abandoned = entry.file_name().to_str().and_then(owner).is_some_and(is_dead);
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            if abandoned && age.is_some_and(|age| age.as_secs() >= ABANDONED_SECONDS) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    });
}

/// The process id in the name of a sockets' directory.
fn owner(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(SOCKET_PREFIX)?.split_once('-')?;
    number.parse::<u64>().ok()?;
    pid.parse().ok()
}

fn is_dead(pid: u32) -> bool {
    Path::new("/proc/self").exists() && !Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_dead_servers_are_swept() {
        let check = |name: &str, pid: Option<u32>| assert_eq!(owner(name), pid, "{name}");
        check("headwater-123-0", Some(123));
        check("headwater-data", None);
        check("headwater-123", None);
        check("headwater-123-data", None);
        assert!(!is_dead(std::process::id()));
    }

    #[tokio::test]
    async fn sockets_leave_nothing_behind() {
        let (sockets, bound) = Sockets::bind(&std::env::temp_dir(), 2).unwrap();
        let directory = sockets.directory.clone();
        assert!(bound.iter().all(|(_, path)| path.exists()));
        drop(sockets);
        assert!(!directory.exists());
    }
}
