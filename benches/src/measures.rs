//! The measurements.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    Outcome, cpu,
    flv::{self, Clip, Recipe},
    http, load,
    report::{Row, median, percentile},
    server::{Kind, Server},
};

/// 720p30, 2 Mbit/s, 2 s GOP: the input of the published baselines.
const PLAIN: Recipe = Recipe { frame_rate: 30, gop_frames: 60, video_kbps: 2_000, seconds: 20 };
/// How long a server works before and while it is measured.
const WARM_UP: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(15);

/// Publishers in the background, stopped when dropped.
struct Publishers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Outcome<()>>,
}

impl Publishers {
    fn new() -> Self {
        Self { stop: Arc::default(), tasks: JoinSet::new() }
    }

    fn add(
        &mut self,
        port: u16,
        app: &'static str,
        name: String,
        clip: Arc<Clip>,
        sent: Option<Arc<load::FrameTimes>>,
    ) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { load::publish(port, app, &name, clip, stop, sent).await });
    }

    /// Fails when a publisher has failed.
    fn check(&mut self) -> Outcome<()> {
        match self.tasks.try_join_next() {
            Some(Ok(Err(error))) => Err(format!("a publisher failed: {error}").into()),
            Some(Ok(Ok(()))) => Err("a publisher ended early".into()),
            Some(Err(error)) => Err(error.into()),
            None => Ok(()),
        }
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.abort_all();
    }
}

/// What goes on, for those who wait.
pub(crate) fn note(text: &str) {
    eprintln!("bench-live: {text}");
}

/// CPU milliseconds per unit and second over the window.
async fn cpu_per_unit(server: &Server, units: usize) -> f64 {
    let (begin, before) = (Instant::now(), cpu::cpu_time(server.pid()));
    sleep(WINDOW).await;
    let used = cpu::cpu_time(server.pid()) - before;
    used.as_secs_f64() * 1_000.0 / begin.elapsed().as_secs_f64() / units as f64
}

pub(crate) async fn first_playlist(rounds: usize) -> Outcome<Vec<Row>> {
    let clip = Arc::new(flv::make(PLAIN)?);
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for (index, kind) in Kind::BOTH.into_iter().enumerate() {
            let server = Server::start(kind)?;
            let name = format!("first{round}");
            let mut publishers = Publishers::new();
            let begin = Instant::now();
            publishers.add(server.rtmp, "hls", name.clone(), clip.clone(), None);
            until_playable(&server, &name).await?;
            publishers.check()?;
            note(&format!("first playlist, {}: {:.2} s", kind.name(), begin.elapsed().as_secs_f64()));
            seconds[index].push(begin.elapsed().as_secs_f64());
        }
    }
    let (ours, peer) = (median(&seconds[0]), median(&seconds[1]));
    Ok(vec![Row {
        measure: "publish to first playlist that plays, 2 s GOP".into(),
        headwater: format!("{ours:.2} s"),
        peer: format!("{peer:.2} s"),
        goal: "at most 0.7 s".into(),
        reached: Some(ours <= 0.7),
    }])
}

/// Waits until a playlist lists media whose bytes can be had.
async fn until_playable(server: &Server, name: &str) -> Outcome<()> {
    let begin = Instant::now();
    let path = server.kind.playlist(name);
    let mut client = http::Client::connect(server.http).await?;
    while begin.elapsed() < Duration::from_secs(20) {
        if let Some(media) = first_media(&mut client, &path).await?
            && client.get(&media).await?.status == 200
        {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Err(format!("{} made no playlist in time", server.kind.name()).into())
}

/// The path of the first whole segment of the playlist at `path`, through a multivariant playlist if need be: players do not begin
/// with parts alone.
async fn first_media(client: &mut http::Client, path: &str) -> Outcome<Option<String>> {
    let mut path = path.to_owned();
    for _ in 0..2 {
        let answer = client.get(&path).await?;
        if answer.status != 200 {
            return Ok(None);
        }
        let text = answer.text();
        let is_uri = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let Some(uri) = text.lines().find(is_uri) else { return Ok(None) };
        let folder = path.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
        path = format!("{folder}/{uri}");
        if !uri.contains(".m3u8") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

pub(crate) async fn rtmp_join(rounds: usize) -> Outcome<Vec<Row>> {
    let clip = Arc::new(flv::make(PLAIN)?);
    let mut ms = [Vec::new(), Vec::new()];
    for kind in Kind::BOTH {
        let server = Server::start(kind)?;
        let mut publishers = Publishers::new();
        publishers.add(server.rtmp, "live", "join".into(), clip.clone(), None);
        sleep(Duration::from_secs(3)).await;
        for round in 0..rounds.max(3) * 2 {
            // At different places of the GOP.
            sleep(Duration::from_millis(100 + 310 * round as u64 % 2_000)).await;
            let time = load::first_frame(server.rtmp, "live", "join").await?;
            ms[usize::from(kind == Kind::Nginx)].push(time.as_secs_f64() * 1_000.0);
        }
        publishers.check()?;
    }
    let worst = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let (ours, peer) = (worst(&ms[0]), worst(&ms[1]));
    Ok(vec![Row {
        measure: "RTMP play: connect to first keyframe, worst of the run (median)".into(),
        headwater: format!("{ours:.0} ms ({:.0} ms)", median(&ms[0])),
        peer: format!("{peer:.0} ms ({:.0} ms)", median(&ms[1])),
        goal: "at most 300 ms".into(),
        reached: Some(ours <= 300.0),
    }])
}

pub(crate) async fn ingest(streams: usize, rounds: usize) -> Outcome<Vec<Row>> {
    let clip = Arc::new(flv::make(PLAIN)?);
    let mut cost = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (index, kind) in Kind::BOTH.into_iter().enumerate() {
            let server = Server::start(kind)?;
            let mut publishers = Publishers::new();
            for stream in 0..streams {
                publishers.add(server.rtmp, "hls", format!("s{stream}"), clip.clone(), None);
                // Publishers that all begin at once send their keyframes at once, too.
                sleep(Duration::from_millis(20)).await;
            }
            sleep(WARM_UP).await;
            let ms = cpu_per_unit(&server, streams).await;
            publishers.check()?;
            until_playable(&server, "s7").await?;
            note(&format!(
                "ingest of {streams}, {}: {ms:.2} ms/s, {} MB",
                kind.name(),
                cpu::resident_bytes(server.pid()) >> 20
            ));
            cost[index].push(ms);
        }
    }
    let (ours, peer) = (median(&cost[0]), median(&cost[1]));
    Ok(vec![Row {
        measure: format!("CPU per stream-second, RTMP in and HLS ready, {streams} streams of 2 Mbit/s"),
        headwater: format!("{ours:.2} ms ({:.2} of the peer)", ours / peer),
        peer: format!("{peer:.2} ms"),
        goal: "at most 0.6 of the peer".into(),
        reached: Some(ours <= 0.6 * peer),
    }])
}

pub(crate) async fn fanout(players: usize, rounds: usize) -> Outcome<Vec<Row>> {
    let clip = Arc::new(flv::make(PLAIN)?);
    let (mut cost, mut delay) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..rounds {
        for (index, kind) in Kind::BOTH.into_iter().enumerate() {
            let (ms, delays) = fanout_round(kind, players, clip.clone()).await?;
            let late = percentile(&delays, 0.95).unwrap_or_default();
            note(&format!(
                "fan-out to {players}, {}: {ms:.3} ms/s, delay p95 {:.0} ms of {} frames",
                kind.name(),
                late.as_secs_f64() * 1e3,
                delays.len()
            ));
            cost[index].push(ms);
            delay[index].push(late.as_secs_f64() * 1_000.0);
        }
    }
    let (ours, peer) = (median(&cost[0]), median(&cost[1]));
    let (our_delay, peer_delay) = (median(&delay[0]), median(&delay[1]));
    Ok(vec![Row {
        measure: format!("CPU per player-second, RTMP to {players} players; delay at probe players (p95)"),
        headwater: format!("{ours:.3} ms ({:.2} of the peer); {our_delay:.0} ms", ours / peer),
        peer: format!("{peer:.3} ms; {peer_delay:.0} ms"),
        goal: "at most 0.65 of the peer; at most 50 ms".into(),
        reached: Some(ours <= 0.65 * peer && our_delay <= 50.0),
    }])
}

async fn fanout_round(kind: Kind, players: usize, clip: Arc<Clip>) -> Outcome<(f64, Vec<Duration>)> {
    const PROBES: usize = 4;
    let server = Server::start(kind)?;
    let (port, sent) = (server.rtmp, load::FrameTimes::new());
    let stop = Arc::new(AtomicBool::new(false));
    // The publisher and the probes have threads of their own: what the crowd's thread is busy with is not the server's delay.
    let publisher = own_thread({
        let (stop, sent) = (stop.clone(), sent.clone());
        move || load::publish(port, "live", "fan", clip, stop, Some(sent))
    });
    sleep(Duration::from_secs(1)).await;
    // The probes are seated among the crowd, not behind it: they wait for what everybody waits for.
    let measuring = Arc::new(AtomicBool::new(false));
    let probes: Vec<_> = (0..PROBES)
        .map(|_| {
            let (stop, sent, measuring) = (stop.clone(), sent.clone(), measuring.clone());
            own_thread(move || load::probe(port, "live", "fan", sent, measuring, stop))
        })
        .collect();
    let bytes = Arc::new(AtomicU64::new(0));
    let mut crowd: JoinSet<Outcome<()>> = JoinSet::new();
    for player in 0..players {
        let (stop, bytes) = (stop.clone(), bytes.clone());
        crowd.spawn(async move { load::discard(port, "live", "fan", stop, bytes).await });
        if player % 20 == 19 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    sleep(WARM_UP).await;
    measuring.store(true, Ordering::Relaxed);
    let before = bytes.load(Ordering::Relaxed);
    let ms = cpu_per_unit(&server, players).await;
    let per_player = (bytes.load(Ordering::Relaxed) - before) / players as u64;
    if let Some(failed) = crowd.try_join_next() {
        return Err(format!("a player ended early: {failed:?}").into());
    }
    // Two megabits for the window: less means that players were left behind.
    if per_player < 220_000 * WINDOW.as_secs() {
        note(&format!("{}: players received only {per_player} bytes in the window", kind.name()));
    }
    stop.store(true, Ordering::Relaxed);
    let mut delays = Vec::new();
    for probe in probes {
        delays.extend(probe.await??);
    }
    publisher.await??;
    Ok((ms, delays))
}

/// Runs a future to its end on a thread and runtime of its own.
fn own_thread<T, F>(make: impl FnOnce() -> F + Send + 'static) -> tokio::task::JoinHandle<Outcome<T>>
where
    T: Send + 'static,
    F: Future<Output = Outcome<T>>,
{
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(make())
    })
}

/// Clients that wait for the next part of one playlist.
pub(crate) async fn parked(clients: usize) -> Outcome<Vec<Row>> {
    const ROUNDS: usize = 20;
    let clip = Arc::new(flv::make(PLAIN)?);
    let server = Server::start(Kind::Headwater)?;
    let mut publishers = Publishers::new();
    publishers.add(server.rtmp, "hls", "park".into(), clip, None);
    until_playable(&server, "park").await?;
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(http::Client::connect(server.http).await?);
    }
    let (mut spreads, mut all) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (msn, part) = next_part(&server).await?;
        let path = format!("/hls/park/v0/index.m3u8?_HLS_msn={msn}&_HLS_part={part}");
        let mut waiting = JoinSet::new();
        for mut connection in connections.drain(..) {
            let path = path.clone();
            waiting.spawn(async move {
                let answer = connection.get(&path).await;
                (connection, answer.map(|answer| answer.status), Instant::now())
            });
        }
        let mut times = Vec::new();
        while let Some(done) = waiting.join_next().await {
            let (connection, status, at) = done?;
            if status? != 200 {
                return Err("a parked request was refused".into());
            }
            connections.push(connection);
            times.push(at);
        }
        let first = times.iter().min().copied().ok_or("no clients")?;
        let delays: Vec<f64> = times.iter().map(|at| at.duration_since(first).as_secs_f64() * 1_000.0).collect();
        spreads.push(percentile(&delays, 1.0).unwrap_or_default());
        all.extend(delays);
    }
    publishers.check()?;
    let p99 = percentile(&all, 0.99).unwrap_or(f64::NAN);
    Ok(vec![Row {
        measure: format!(
            "{clients} parked reloads: first waiter's answer to each other's, p99 (last waiter, median of {ROUNDS})"
        ),
        headwater: format!("{p99:.1} ms ({:.1} ms)", median(&spreads)),
        peer: "not offered".into(),
        goal: "p99 at most 30 ms".into(),
        reached: Some(p99 <= 30.0),
    }])
}

/// The part after the next one: far enough ahead that every client is parked before it comes.
async fn next_part(server: &Server) -> Outcome<(u64, u32)> {
    let text = http::get(server.http, "/hls/park/v0/index.m3u8").await?.text();
    let hint = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).ok_or("no preload hint")?;
    let uri = hint.split("URI=\"").nth(1).and_then(|rest| rest.split('"').next()).ok_or("no URI")?;
    let mut numbers = uri.split('.');
    let msn: u64 = numbers.next().ok_or("no number")?.parse()?;
    let part: u32 = numbers.next().ok_or("no part")?.parse()?;
    // Two parts on: 1,000 requests take longer than one part to send.
    Ok(if part >= 7 { (msn + 1, 1) } else { (msn, part + 2) })
}

pub(crate) async fn memory() -> Outcome<Vec<Row>> {
    const STREAMS: usize = 4;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let server = Server::start(Kind::Headwater)?;
    sleep(Duration::from_secs(2)).await;
    let idle = cpu::resident_bytes(server.pid());
    let recipe = Recipe { video_kbps: 5_000, ..PLAIN };
    let clip = Arc::new(flv::make(recipe)?);
    let clip_bytes: usize = clip.frames.iter().map(|tag| tag.body.len()).sum();
    let window = clip_bytes as f64 / 1e6 * 60_000.0 / f64::from(clip.duration_ms);
    let mut publishers = Publishers::new();
    for stream in 0..STREAMS {
        publishers.add(server.rtmp, "hls", format!("m{stream}"), clip.clone(), None);
    }
    note("memory: filling a window of 60 s");
    sleep(Duration::from_secs(80)).await;
    publishers.check()?;
    let per_stream = megabytes(cpu::resident_bytes(server.pid()) - idle) / STREAMS as f64;
    Ok(vec![
        Row {
            measure: "idle memory".into(),
            headwater: format!("{:.1} MB", megabytes(idle)),
            peer: String::new(),
            goal: "at most 40 MB".into(),
            reached: Some(megabytes(idle) <= 40.0),
        },
        Row {
            measure: format!("memory per 5 Mbit/s passthrough stream, window of 60 s ({window:.1} MB of media)"),
            headwater: format!("{per_stream:.1} MB"),
            peer: String::new(),
            goal: "at most the window and 5 MB".into(),
            reached: Some(per_stream <= window + 5.0),
        },
    ])
}

/// Frames and sound of a passthrough stream against the file that was published.
pub(crate) async fn exact() -> Outcome<Vec<Row>> {
    let server = Server::start(Kind::Headwater)?;
    let (rtmp, http) = (server.rtmp, server.http);
    let (lost, moved_ms) = tokio::task::spawn_blocking(move || exact_run(rtmp, http)).await?;
    Ok(vec![Row {
        measure: "passthrough: frames lost or out of order; sound moved against the picture".into(),
        headwater: format!("{lost}; {moved_ms:.1} ms"),
        peer: String::new(),
        goal: "0; at most 5 ms".into(),
        reached: Some(lost == 0 && moved_ms <= 5.0),
    }])
}

fn exact_run(rtmp: u16, http: u16) -> (usize, f64) {
    let folder = std::env::temp_dir().join(format!("headwater-bench-exact-{rtmp}"));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let source = e2e::make_clip(&folder);
    let publish = format!("rtmp://127.0.0.1:{rtmp}/hls/exact");
    e2e::Encoder::run(&["-re", "-i", &source, "-c", "copy", "-f", "flv", &publish]).wait(Duration::from_secs(30));
    let address = ([127, 0, 0, 1], http).into();
    e2e::eventually("the end of the stream", Duration::from_secs(10), || {
        let text = e2e::get(address, "/hls/exact/v0/index.m3u8").ok()?.text();
        text.contains("#EXT-X-ENDLIST").then_some(())
    });
    let url = format!("http://{address}/hls/exact/index.m3u8");
    let (wanted, got) = (e2e::picture_sums(&source), e2e::picture_sums(&url));
    let same = wanted.iter().zip(&got).filter(|(wanted, got)| wanted == got).count();
    let (before, after) = (e2e::packets(&source, 30, &[]), e2e::packets(&url, 30, &[]));
    let moved = e2e::shift(&before, &after, "audio") - e2e::shift(&before, &after, "video");
    let _ = std::fs::remove_dir_all(&folder);
    (wanted.len().max(got.len()) - same, moved.abs() * 1_000.0)
}
