//! The platform as a process: it starts, says where it is, answers, and stops in order.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for anything the process does.
const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at it.
const POLL: Duration = Duration::from_millis(10);

/// A running process; killed when the test ends early.
struct Server {
    child: Child,
    folder: PathBuf,
    /// `host:port` of viewers and operators.
    http: String,
    ops: String,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("headwater-serve-{}-{name}", std::process::id()));
        let mut child = command(&folder, "127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (mut http, mut ops) = (String::new(), String::new());
        for line in lines.map_while(Result::ok) {
            let authority =
                || line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default().to_owned();
            match line.split_whitespace().next() {
                Some("Watch") => http = authority(),
                Some("Operate") => ops = authority(),
                Some("Ctrl-C") => break,
                _ => {}
            }
        }
        Self { child, folder, http, ops }
    }

    fn signal(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the process is ours");
    }

    fn exit_code(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the process is ours") {
                return status.code();
            }
            assert!(began.elapsed() < DEADLINE, "the process did not stop within {DEADLINE:?}");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn command(folder: &PathBuf, ops: &str) -> Command {
    std::fs::create_dir_all(folder).expect("the temporary folder can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command
        .args(["serve", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--ops", ops, "--log", "error"])
        .arg("--data-dir")
        .arg(folder)
        .current_dir(folder)
        .stderr(Stdio::piped());
    command
}

fn get(authority: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(authority).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a positive time");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn it_says_where_it_is_and_stops_when_told() {
    let mut server = Server::start("stops");
    let ready = get(&server.ops, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.contains("\"ready\":true"), "{ready}");
    let app = get(&server.http, "/app");
    assert!(app.starts_with("HTTP/1.1 200 ") && app.contains("content-security-policy"), "{app}");
    let root = get(&server.http, "/");
    assert!(root.starts_with("HTTP/1.1 302 ") && root.contains("location: /app"), "{root}");
    let metrics = get(&server.ops, "/metrics");
    assert!(metrics.contains("headwater_build_info"), "{metrics}");
    server.signal();
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_taken_port_ends_the_start_and_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let folder = std::env::temp_dir().join(format!("headwater-serve-{}-taken", std::process::id()));
    let ops = taken.local_addr().expect("it is bound").to_string();
    let done = command(&folder, &ops).output().expect("the binary runs");
    let _ = std::fs::remove_dir_all(&folder);
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{text}");
    assert!(text.contains(&ops) && text.contains("--ops"), "{text}");
}
