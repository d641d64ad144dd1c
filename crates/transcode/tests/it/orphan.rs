//! The server dies by SIGKILL: nothing of it may be left.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use transcode::Config;

use crate::support::{Bench, Published, assert_goes_away, is_running, plan, signal};

/// Tells the test below that it is the server.
const SERVER: &str = "HEADWATER_TEST_SERVER";

#[test]
fn a_killed_server_leaves_no_child() {
    let mut server = Command::new(std::env::current_exe().unwrap());
    server.args(["--exact", "orphan::server", "--nocapture"]).env(SERVER, "1");
    let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| line.split_once("child ")?.1.trim().parse().ok());
    let pid: u32 = pid.expect("the server tells its child's process id");
    assert!(is_running(pid));
    // Stopped, it cannot see the end of its input: only the kernel can end it.
    let tool_has_setpriv =
        Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).status().is_ok_and(|s| s.success());
    if tool_has_setpriv {
        signal("STOP", pid);
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert_goes_away(pid);
}

/// Not a test: the process that the test above kills. It does nothing unless asked.
#[tokio::test(flavor = "multi_thread")]
async fn server() {
    if std::env::var_os(SERVER).is_none() {
        return;
    }
    let published = Published::make("640x360", 30, "-tune zerolatency");
    let mut bench = Bench::start(plan("nott", &published.source()).await, &Config::default());
    bench.push(published.gops(0..1)).unwrap();
    bench.until("output", |bench| bench.newest_pts(0).is_some()).await;
    println!("child {}", bench.ladder.pid().unwrap());
    std::future::pending::<()>().await;
}
