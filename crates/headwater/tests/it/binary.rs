//! The binary as an operator uses it: words in, text and exit code out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder of its own for a test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("headwater-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary folder can be written");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        fs::write(self.0.join(name), text).expect("the temporary folder can be written");
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HEADWATER_") {
            command.env_remove(name);
        }
    }
    let Output { status, stdout, stderr } =
        command.args(args).envs(env.iter().copied()).current_dir(folder).output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the binary writes UTF-8");
    (status.code().expect("it ended by itself"), text(stdout), text(stderr))
}

#[test]
fn without_a_file_the_settings_are_the_defaults() {
    let folder = Folder::new();
    let (code, out, err) = run(&folder.0, &["config", "check"], &[]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "ok\nevery setting has its default\n", ""));
}

#[test]
fn a_later_source_wins_and_is_named() {
    let folder = Folder::new();
    folder.file("headwater.toml", "[server]\nlog_level = \"warn\"\nlog_format = \"json\"\n");
    let (code, out, err) =
        run(&folder.0, &["config", "check", "--log", "debug"], &[("HEADWATER_SERVER_OPS", "127.0.0.1:1")]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("server.log_level = \"debug\"  # --log\n"), "{out}");
    assert!(out.contains("server.log_format = \"json\"  # headwater.toml:3\n"), "{out}");
    assert!(out.contains("server.ops = \"127.0.0.1:1\"  # environment variable HEADWATER_SERVER_OPS\n"), "{out}");
}

#[test]
fn wrong_settings_end_with_exit_code_2_and_a_remedy() {
    let folder = Folder::new();
    folder.file("mine.toml", "[server]\n\nlog_levle = \"warn\"\n");
    let check = |args: &[&str], env: &[(&str, &str)], expected: &str| {
        let (code, out, err) = run(&folder.0, args, env);
        assert_eq!(code, 2, "{out}{err}");
        assert!(err.contains(expected), "{err}");
    };
    check(
        &["config", "check", "--config", "mine.toml"],
        &[],
        "mine.toml:3: [server] has no setting \"log_levle\"; did you mean \"log_level\"?",
    );
    check(&["serve"], &[("HEADWATER_CONFIG", "mine.toml")], "mine.toml:3:");
    check(&["serve", "--config", "absent.toml"], &[], "cannot read the configuration file absent.toml");
    check(&["serve", "--ops", "nowhere"], &[], "--ops: server.ops = \"nowhere\"");
    check(&["serve"], &[("HEADWATER_SERVER_OSP", "x")], "did you mean \"HEADWATER_SERVER_OPS\"?");
    check(&["serve", "--set", "sever.ops=1"], &[], "did you mean \"server\"?");
    check(&["serve", "--log", "loud"], &[], "server.log_level is \"loud\"");
}

#[test]
fn the_version_is_printed() {
    let folder = Folder::new();
    let (code, out, _) = run(&folder.0, &["--version"], &[]);
    assert_eq!((code, out), (0, format!("headwater {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_doctor_speaks_json_and_its_exit_code_agrees() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (code, out, err) = run(&folder.0, &["doctor", "--json", "--ops", &address], &[]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!((code, &report["healthy"]), (1, &serde_json::Value::Bool(false)));
    let findings = report["findings"].as_array().expect("a list");
    let ops = findings.iter().find(|finding| finding["check"] == "ops port").expect("the port was examined");
    assert_eq!(ops["verdict"], "fix");
    assert!(ops["remedy"].as_str().expect("a text").contains("--ops"), "{ops}");
}
