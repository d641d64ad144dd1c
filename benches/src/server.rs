//! The two servers under test, each pinned to one core.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::Outcome;

/// The core the server runs on; the load runs on the other one.
pub(crate) const SERVER_CORE: &str = "0";
/// The core the load runs on.
pub(crate) const LOAD_CORE: &str = "1";
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// The application that is watched in players. nginx makes HLS and DASH in it; what ingest costs is measured in one without DASH.
pub(crate) const WATCH: &str = "watch";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Headwater,
    /// Debian's nginx with libnginx-mod-rtmp.
    Nginx,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Headwater, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Headwater => "headwater",
            Self::Nginx => "nginx-rtmp",
        }
    }

    /// A stream's first playlist over HTTP, in an application with HLS.
    pub(crate) fn playlist(self, name: &str) -> String {
        match self {
            Self::Headwater => format!("/hls/{name}/index.m3u8"),
            Self::Nginx => format!("/hls/{name}.m3u8"),
        }
    }

    /// The first playlist of a stream in [`WATCH`].
    pub(crate) fn watch_playlist(self, name: &str) -> String {
        match self {
            Self::Headwater => format!("/{WATCH}/{name}/index.m3u8"),
            Self::Nginx => format!("/{WATCH}/{name}.m3u8"),
        }
    }

    /// The DASH manifest of a stream in [`WATCH`].
    pub(crate) fn manifest(self, name: &str) -> String {
        match self {
            Self::Headwater => format!("/{WATCH}/{name}/manifest.mpd"),
            Self::Nginx => format!("/dash/{name}.mpd"),
        }
    }
}

/// A running server; stopped when dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) rtmp: u16,
    pub(crate) http: u16,
    child: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts a server on free ports, with its files in memory where the machine has a memory disk.
    pub(crate) fn start(kind: Kind) -> Outcome<Self> {
        let (rtmp, http, ops) = (free_port()?, free_port()?, free_port()?);
        let root = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let folder = root.join(format!("headwater-bench-{}-{rtmp}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mut command = match kind {
            Kind::Headwater => headwater(&folder, rtmp, http, ops)?,
            Kind::Nginx => nginx(&folder, rtmp, http)?,
        };
        let log = fs::File::create(folder.join("log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let server = Self { kind, rtmp, http, child, folder };
        server.wait_for(rtmp)?;
        server.wait_for(http)?;
        Ok(server)
    }

    /// The process whose CPU time and memory count.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_for(&self, port: u16) -> Outcome<()> {
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > START_TIMEOUT {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("{} did not start: {log}", self.kind.name()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's master passes SIGTERM on to its workers; SIGKILL would leave them.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begin.elapsed() < START_TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE]).arg(program);
    command
}

fn headwater(folder: &Path, rtmp: u16, http: u16, ops: u16) -> Outcome<Command> {
    let binary = std::env::current_exe()?.with_file_name("headwater");
    if !binary.is_file() {
        return Err(format!("{} is missing: `make bench` builds it", binary.display()).into());
    }
    let mut command = pinned(&binary);
    command
        .arg("serve")
        .args(["--http", &format!("127.0.0.1:{http}"), "--rtmp", &format!("127.0.0.1:{rtmp}")])
        .args(["--ops", &format!("127.0.0.1:{ops}"), "--log", "warn", "--data-dir"])
        .arg(folder.join("data"))
        .args(["--set", "transcode.preset=off", "--set", "edge.workers=1", "--set", "live.window_ms=60000"]);
    Ok(command)
}

fn nginx(folder: &Path, rtmp: u16, http: u16) -> Outcome<Command> {
    let module = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
    if !Path::new(module).is_file() {
        return Err("nginx with libnginx-mod-rtmp is not installed: scripts/setup.sh bench".into());
    }
    let at = folder.display();
    let config = format!(
        "load_module {module};\nuser root;\ndaemon off;\nworker_processes 1;\nerror_log {at}/error.log error;\npid {at}/pid;\n\
         events {{ worker_connections 8192; }}\n\
         rtmp {{ access_log off; server {{ listen 127.0.0.1:{rtmp}; chunk_size 4000;\n\
         application live {{ live on; }}\n\
         application hls {{ live on; hls on; hls_path {at}/hls; hls_fragment 2s; hls_playlist_length 60s; }}\n\
         application {WATCH} {{ live on; hls on; hls_path {at}/{WATCH}; hls_fragment 2s; hls_playlist_length 12s;\n\
         dash on; dash_path {at}/dash; dash_fragment 2s; dash_playlist_length 12s; }} }} }}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:{http}; root {at};\n\
         types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; application/dash+xml mpd; video/mp4 m4v; audio/mp4 m4a; }}\n\
         add_header Cache-Control no-cache; add_header Access-Control-Allow-Origin *; }} }}\n"
    );
    for made in ["hls", WATCH, "dash"] {
        fs::create_dir_all(folder.join(made))?;
    }
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = pinned(Path::new("/usr/sbin/nginx"));
    command.arg("-c").arg(path).arg("-p").arg(folder);
    Ok(command)
}
