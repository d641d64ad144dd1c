//! Glass to glass: from the picture that the encoder burns the time into to the picture that a player shows.
//!
//! Load and servers may use every core here: what is measured is delay, not work.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use e2e::{CLOCK_CELLS, clock_age, clock_filter, clock_strip_filter};
use serde_json::Value;

use crate::{
    Outcome,
    measures::note,
    report::{Row, median, percentile},
    server::{Kind, Server, WATCH},
};

/// nginx lists three fragments of 2 s by then, and players start as they would on a stream that has been on air for long.
const SETTLE: Duration = Duration::from_secs(10);
/// How long each player plays.
const PLAY: Duration = Duration::from_secs(15);
/// What RTMP sends at first is the GOP so far: old by nature.
const RTMP_SETTLE: Duration = Duration::from_secs(3);
const STREAM: &str = "glass";

/// hls.js plays from the key frame before its target and stays there unless it may catch up, as it may in the viewer app.
const HLSJS_SETTINGS: &str = r#"{"maxLiveSyncPlaybackRate":1.1}"#;

/// A way to watch.
struct Way {
    measure: &'static str,
    /// The engine of `play.mjs`; RTMP is played by FFmpeg.
    engine: Option<&'static str>,
    goal_ms: f64,
}

const WAYS: [Way; 5] = [
    Way { measure: "HLS in hls.js that may catch up", engine: Some("hlsjs"), goal_ms: 1_500.0 },
    Way { measure: "HLS in Shaka", engine: Some("shaka-hls"), goal_ms: 1_300.0 },
    Way { measure: "DASH in dash.js", engine: Some("dashjs"), goal_ms: 4_000.0 },
    Way { measure: "DASH in Shaka", engine: Some("shaka-dash"), goal_ms: 4_000.0 },
    Way { measure: "RTMP in FFmpeg", engine: None, goal_ms: 100.0 },
];

/// What one player saw.
#[derive(Clone, Copy, Debug)]
struct Seen {
    median_ms: f64,
    p95_ms: f64,
    stalls: u64,
    dropped: u64,
    frames: u64,
}

/// Rows for every way to watch; the median over the rounds.
pub(crate) fn glass_to_glass(rounds: usize) -> Outcome<Vec<Row>> {
    let mut seen = WAYS.map(|_| [Vec::new(), Vec::new()]);
    for _ in 0..rounds {
        for (index, kind) in Kind::BOTH.into_iter().enumerate() {
            let server = Server::start(kind)?;
            let _publisher = publish(server.rtmp)?;
            sleep(SETTLE);
            for (way, seen) in WAYS.iter().zip(&mut seen) {
                match watch(&server, way) {
                    Ok(new) => {
                        note(&format!("{}, {}: {new:?}", way.measure, kind.name()));
                        seen[index].push(new);
                    }
                    // A player that cannot play one server's stream has no figure; the others have.
                    Err(error) => note(&format!("{}, {}: {error}", way.measure, kind.name())),
                }
            }
        }
    }
    Ok(WAYS.iter().zip(&seen).map(|(way, [ours, peer])| row(way, ours, peer)).collect())
}

fn row(way: &Way, ours: &[Seen], peer: &[Seen]) -> Row {
    Row {
        measure: format!("glass to glass, passthrough, 1 s GOP: {}, median (p95)", way.measure),
        headwater: describe(ours),
        peer: describe(peer),
        goal: format!("at most {:.0} ms", way.goal_ms),
        reached: Some(typical(ours) <= way.goal_ms),
    }
}

fn typical(seen: &[Seen]) -> f64 {
    median(&seen.iter().map(|seen| seen.median_ms).collect::<Vec<_>>())
}

fn describe(seen: &[Seen]) -> String {
    if seen.is_empty() {
        return "did not play".into();
    }
    let late = median(&seen.iter().map(|seen| seen.p95_ms).collect::<Vec<_>>());
    let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
    let (stalls, dropped, frames) = (sum(|seen| seen.stalls), sum(|seen| seen.dropped), sum(|seen| seen.frames));
    format!("{:.0} ms ({late:.0} ms); {stalls} stalls, {dropped} of {frames} frames dropped", typical(seen))
}

fn watch(server: &Server, way: &Way) -> Outcome<Seen> {
    match way.engine {
        Some(engine) => play_in_browser(server, engine),
        None => play_rtmp(server.rtmp),
    }
}

/// A child that is stopped when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// FFmpeg as a viewer's encoder, its clock in the picture.
fn publish(port: u16) -> Outcome<Running> {
    let child = everywhere("ffmpeg")?
        .args(["-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30,format=yuv420p"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-vf", &clock_filter()])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"])
        .args(["-b:v", "2500k", "-maxrate", "2500k", "-bufsize", "2500k"])
        .args(["-g", "30", "-keyint_min", "30", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k"])
        .args(["-f", "flv", &rtmp_url(port)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Running(child))
}

fn play_in_browser(server: &Server, engine: &str) -> Outcome<Seen> {
    let players = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/players");
    if !players.join("node_modules").is_dir() {
        return Err("players are not installed: npm ci in tests/e2e/players".into());
    }
    let path = if engine.contains("dash") { server.kind.manifest(STREAM) } else { server.kind.watch_playlist(STREAM) };
    let output = everywhere("node")?
        .arg(players.join("play.mjs"))
        .args(["--engine", engine, "--url", &format!("http://127.0.0.1:{}{path}", server.http), "--clock"])
        .args(["--seconds", &PLAY.as_secs().to_string()])
        .args(["--settings", if engine == "hlsjs" { HLSJS_SETTINGS } else { "{}" }])
        .output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("play.mjs: {error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    seen_in_browser(&report).ok_or_else(|| report.to_string().into())
}

fn seen_in_browser(report: &Value) -> Option<Seen> {
    let latency = &report["latencyMs"];
    Some(Seen {
        median_ms: latency["median"].as_f64()?,
        p95_ms: latency["p95"].as_f64()?,
        stalls: report["stalls"].as_u64()?,
        dropped: report["dropped"].as_u64()?,
        frames: report["frames"].as_u64()?,
    })
}

/// FFmpeg decodes the stream and hands over the clock of each picture.
fn play_rtmp(port: u16) -> Outcome<Seen> {
    let mut child = everywhere("ffmpeg")?
        .args(["-v", "error", "-nostdin", "-fflags", "nobuffer", "-flags", "low_delay", "-i", &rtmp_url(port)])
        .args(["-an", "-vf", &clock_strip_filter(), "-vsync", "passthrough", "-flush_packets", "1"])
        .args(["-f", "rawvideo", "pipe:1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)?;
    let mut pictures = child.0.stdout.take().ok_or("no pipe")?;
    let (begin, mut ages, mut cells) = (Instant::now(), Vec::new(), [0; CLOCK_CELLS]);
    while begin.elapsed() < RTMP_SETTLE + PLAY {
        pictures.read_exact(&mut cells)?;
        if begin.elapsed() > RTMP_SETTLE {
            ages.push(clock_age(&cells, SystemTime::now()).as_secs_f64() * 1_000.0);
        }
    }
    let p95_ms = percentile(&ages, 0.95).ok_or("no pictures")?;
    // A picture that is missing shows in their number.
    Ok(Seen { median_ms: median(&ages), p95_ms, stalls: 0, dropped: 0, frames: ages.len() as u64 })
}

fn rtmp_url(port: u16) -> String {
    format!("rtmp://127.0.0.1:{port}/{WATCH}/{STREAM}")
}

/// A program that may run on every core, unlike this one.
fn everywhere(program: &str) -> Outcome<Command> {
    let cores = fs::read_to_string("/sys/devices/system/cpu/online")?;
    let mut command = Command::new("taskset");
    command.args(["-c", cores.trim(), program]);
    Ok(command)
}
