//! The platform as a process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{eventually, http};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);

/// A running `headwater`, on free ports and with a folder of its own; stopped when dropped.
pub struct Platform {
    child: Child,
    /// Public HTTP.
    pub http: SocketAddr,
    /// RTMP.
    pub rtmp: SocketAddr,
    /// Operations.
    pub ops: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Platform {
    /// `headwater serve` with these further arguments, ready to be used.
    ///
    /// # Panics
    /// When it does not start: the test has failed.
    pub fn serve(arguments: &[&str]) -> Self {
        Self::start("serve", arguments)
    }

    /// `headwater demo`.
    ///
    /// # Panics
    /// When it does not start: the test has failed.
    pub fn demo(arguments: &[&str]) -> Self {
        Self::start("demo", arguments)
    }

    fn start(command: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [http, rtmp, ops] = [free(), free(), free()];
        let mut child = Command::new(binary())
            .arg(command)
            .args(["--http", &http.to_string(), "--rtmp", &rtmp.to_string(), "--ops", &ops.to_string()])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--log", "info"])
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the platform starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for output in outputs {
            let log = log.clone();
            thread::spawn(move || {
                BufReader::new(output)
                    .lines()
                    .map_while(Result::ok)
                    .for_each(|line| log.lock().expect("not poisoned").push(line));
            });
        }
        let mut platform = Self { child, http, rtmp, ops, log, _folder: folder };
        let begin = Instant::now();
        while !matches!(http::get(ops, "/readyz"), Ok(answer) if answer.status == 200) {
            let ended = platform.child.try_wait().expect("the child can be asked");
            assert!(
                ended.is_none() && begin.elapsed() < START,
                "the platform is not ready: {ended:?}\n{}",
                platform.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
        platform
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed and logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").join("\n")
    }

    /// Where encoders publish `stream`.
    pub fn publish_url(&self, stream: &str) -> String {
        format!("rtmp://{}/{stream}", self.rtmp)
    }

    /// A URL of the public listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// An answer of the public listener.
    ///
    /// # Panics
    /// When there is none: the test has failed.
    pub fn get(&self, path: &str) -> http::Answer {
        http::get(self.http, path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    /// The text of an object that appears within `deadline`.
    pub fn get_text(&self, path: &str, deadline: Duration) -> String {
        eventually(path, deadline, || {
            Some(self.get(path)).filter(|answer| answer.status == 200).map(|answer| answer.text())
        })
    }

    /// A metric's value, summed over its labels; zero while it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let text = http::get(self.ops, "/metrics").map(|answer| answer.text()).unwrap_or_default();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Pids of the platform's children.
    pub fn children(&self) -> Vec<u32> {
        children_of(self.pid())
    }

    /// Sends a signal to the platform.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for the platform's end.
    ///
    /// # Panics
    /// When it does not end: the test has failed.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status;
            }
            assert!(begin.elapsed() < STOP, "the platform does not stop\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the platform ---\n{}", self.log());
        }
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
}

/// All descendants of a process.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let direct: Vec<u32> = threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>())
        .collect();
    direct.iter().flat_map(|&child| std::iter::once(child).chain(children_of(child))).collect()
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// The binary that the same `cargo` run built: `target/PROFILE/headwater`, beside this test's own folder.
///
/// # Panics
/// When it is not built.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let folder = own.ancestors().find(|folder| folder.join("headwater").is_file());
    let folder = folder.expect("the platform is built first: cargo build -p headwater");
    Path::new(folder).join("headwater")
}
