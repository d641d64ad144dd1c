use std::{
    env, fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a server may take to start or to stop.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks at a server that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The owner of the server's files when tests run as root: `initdb` refuses root.
const USER: &str = "postgres";
/// What the folders of all servers begin with; the process's id follows.
const FOLDER: &str = "testkit-postgres-";

static STARTED: AtomicU32 = AtomicU32::new(0);

/// A Postgres server of its own, in a temporary folder, reached by a socket in it. It ends with this value or with the process.
///
/// Needs the server's programs (`/usr/lib/postgresql/*/bin` or the PATH).
///
/// # Panics
/// All methods, when the programs are missing or fail: this is for tests.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    synced: bool,
    databases: AtomicU32,
    server: Mutex<Option<Server>>,
}

/// The server's process and the thread that waits for it.
#[derive(Debug)]
struct Server {
    pid: u32,
    ended: JoinHandle<()>,
}

impl Postgres {
    /// Starts one that is as durable as in service: every commit reaches the disk.
    pub fn start() -> Self {
        Self::start_with(true)
    }

    /// Starts one that does not wait for the disk: quicker, for tests that do not cut the power.
    pub fn start_unsynced() -> Self {
        Self::start_with(false)
    }

    fn start_with(synced: bool) -> Self {
        sweep();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("{FOLDER}{}-{number}", process::id()));
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        if let Some((user, group)) = owner() {
            chown(&folder, Some(user), Some(group)).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        }
        let postgres =
            Self { folder, programs: programs(), synced, databases: AtomicU32::new(0), server: Mutex::new(None) };
        let data = postgres.data();
        postgres
            .run("initdb", &["-D", &data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        postgres.launch();
        postgres
    }

    /// The URL of the database that every server has.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes an empty database and gives its URL.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &["-h", &self.folder.to_string_lossy(), "-U", USER, "-T", "template0", &name]);
        self.url_of(&name)
    }

    /// Ends the server as a crash would: SIGKILL, no clean-up. Connections break off.
    pub fn kill(&self) {
        self.end("-KILL");
    }

    /// Ends the server, if it runs, in good order, and starts it again on the same data and URL.
    pub fn restart(&self) {
        self.end("-INT");
        self.launch();
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}@localhost/{database}?host={}", self.folder.display())
    }

    fn data(&self) -> String {
        self.folder.join("data").to_string_lossy().into_owned()
    }

    /// Runs one of the server's programs to its end, as the owner of the files.
    fn run(&self, program: &str, args: &[&str]) {
        let output = as_owner(&self.programs.join(program), None).args(args).current_dir(&self.folder).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}; install PostgreSQL's server programs"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn launch(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        // After a kill the old server's children may hold its memory for a moment: then the new one ends at once.
        loop {
            let started = self.spawn();
            if self.answers(&started, begun) {
                *server = Some(started);
                return;
            }
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < DEADLINE, "Postgres does not start:\n{log}");
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn spawn(&self) -> Server {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).expect("a log file");
        // The server ends when its parent does, however that ends.
        let mut command = as_owner(&self.programs.join("postgres"), Some("INT"));
        command
            .args(["-D", &self.data(), "-k", &self.folder.to_string_lossy()])
            .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
            .args(["-c", if self.synced { "fsync=on" } else { "fsync=off" }])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        let (tell, told) = mpsc::sync_channel(1);
        // The kernel takes the thread that started a process for its parent: this one stays as long as the server.
        let ended = thread::spawn(move || {
            let mut child = command.spawn().expect("Postgres starts");
            let _heard = tell.send(child.id());
            let _ended = child.wait();
        });
        Server { pid: told.recv().expect("Postgres starts"), ended }
    }

    /// Whether the server answers before it ends.
    fn answers(&self, server: &Server, begun: Instant) -> bool {
        while begun.elapsed() < DEADLINE && !server.ended.is_finished() {
            let mut look = Command::new(self.programs.join("pg_isready"));
            let look = look.args(["-q", "-h", &self.folder.to_string_lossy(), "-U", USER]).status();
            if look.is_ok_and(|status| status.success()) {
                return true;
            }
            thread::sleep(LOOK_AGAIN);
        }
        false
    }

    fn end(&self, signal: &str) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            if !server.ended.is_finished() {
                let _sent = Command::new("kill").args([signal, &server.pid.to_string()]).status();
            }
            let _ended = server.ended.join();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("-QUIT");
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// User and group of the files when this process is root.
fn owner() -> Option<(u32, u32)> {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    root.then(|| (number(&["-u", USER]), number(&["-g", USER])))
}

fn number(args: &[&str]) -> u32 {
    let output = Command::new("id").args(args).output().expect("id runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("there is no user {USER}; install PostgreSQL's server programs"))
}

fn as_owner(program: &Path, end_with_parent: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    if let Some((user, group)) = owner() {
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
    }
    if let Some(signal) = end_with_parent {
        command.args(["--pdeathsig", signal]);
    }
    command.arg("--").arg(program);
    command
}

/// Where the newest installed server has its programs.
fn programs() -> PathBuf {
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = installed.max_by_key(version).map(|path| path.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates = newest.into_iter().chain(env::split_paths(&path));
    let found = candidates.find(|folder| folder.join("initdb").exists());
    found.expect("initdb is nowhere; install PostgreSQL's server programs")
}

/// Takes away the folders of processes that are gone: a server that ends with its process cannot do it.
fn sweep() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(FOLDER).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            let _gone = fs::remove_dir_all(entry.path());
        }
    }
}
