//! Polls a running server as a low-latency player would, and prints what the linters find.
//!
//! `cargo run -p testkit --example lint -- http://127.0.0.1:8080/APP/NAME SECONDS`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Error, ErrorKind, Read, Result, Write, stdout},
    net::TcpStream,
    process::ExitCode,
    time::{Duration, Instant},
};

use base::{Clock, SystemClock};
use testkit::{Finding, Severity, dash, hls};

/// A blocking reload ends after three target durations at the latest; ten seconds is more than any of them.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Delta updates are asked for up to half the Skip Boundary, which is six target durations of a second at the least (6.3.7).
const DELTA_AGE_MAX: Duration = Duration::from_secs(3);
/// Largest answer read, in bytes: a segment of a minute at 100 Mbit/s.
const BODY_BYTES_MAX: u64 = 750_000_000;
/// What the answers should say they are, by ending.
const TYPES: &[(&str, &str)] =
    &[("m3u8", "application/vnd.apple.mpegurl"), ("mpd", "application/dash+xml"), ("m4s", "/mp4"), ("mp4", "/mp4")];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(seconds)) = (arguments.next(), arguments.next().and_then(|text| text.parse().ok())) else {
        return fail("usage: lint http://HOST:PORT/APP/NAME SECONDS");
    };
    let Some((host, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
        return fail("the address begins with http://HOST:PORT/");
    };
    let mut poll = Poll::new(host, path.trim_end_matches('/'));
    let ran = poll.run(Duration::from_secs(seconds));
    match poll.print().and(ran) {
        Ok(()) if poll.has_errors() => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::FAILURE
}

/// A player without a picture: one request after another, so that a report seen later is about a later state.
struct Poll<'a> {
    host: &'a str,
    path: &'a str,
    clock: SystemClock,
    hls: hls::Linter,
    dash: dash::Linter,
    /// The newest text of each Media Playlist, and when it came.
    newest: BTreeMap<String, (Instant, String)>,
    sized: BTreeSet<String>,
    found: BTreeMap<(&'static str, String), (usize, Finding)>,
    answers: BTreeMap<String, usize>,
    texts: usize,
}

impl<'a> Poll<'a> {
    fn new(host: &'a str, path: &'a str) -> Self {
        Self {
            host,
            path,
            clock: SystemClock::start(),
            hls: hls::Linter::default(),
            dash: dash::Linter::default(),
            newest: BTreeMap::new(),
            sized: BTreeSet::new(),
            found: BTreeMap::new(),
            answers: BTreeMap::new(),
            texts: 0,
        }
    }

    fn run(&mut self, duration: Duration) -> Result<()> {
        let began = Instant::now();
        let mut round = 0_u64;
        while began.elapsed() < duration {
            let multivariant = self.text("index.m3u8", "")?;
            self.observe("index.m3u8", multivariant.clone(), false);
            for uri in hls::media_playlists(&multivariant) {
                self.reload(&uri, round % 2 == 1)?;
            }
            let mpd = self.text("manifest.mpd", "")?;
            let findings = self.dash.observe("manifest.mpd", &mpd);
            self.keep(findings);
            round += 1;
        }
        let findings = self.hls.finish();
        self.keep(findings);
        Ok(())
    }

    fn reload(&mut self, uri: &str, delta: bool) -> Result<()> {
        let next = self.newest.get(uri).and_then(|(_, text)| hls::next_reload(text));
        let mut query = match next {
            None => String::new(),
            Some((msn, None)) => format!("?_HLS_msn={msn}"),
            Some((msn, Some(part))) => format!("?_HLS_msn={msn}&_HLS_part={part}"),
        };
        let fresh = self.newest.get(uri).is_some_and(|(came, _)| came.elapsed() < DELTA_AGE_MAX);
        let delta = delta && fresh && next.is_some();
        if delta {
            query.push_str("&_HLS_skip=YES");
        }
        let text = self.text(uri, &query)?;
        let folder = uri.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (msn, segment) in hls::segments(&text) {
            let segment = format!("{folder}/{segment}");
            if self.sized.insert(segment.clone()) {
                let bytes = self.fetch(&segment, "")?.len() as u64;
                self.hls.measured(uri, msn, bytes);
            }
        }
        self.newest.insert(uri.into(), (Instant::now(), text.clone()));
        self.observe(uri, text, delta);
        Ok(())
    }

    fn observe(&mut self, uri: &str, text: String, delta: bool) {
        self.texts += 1;
        // No two answers are of one moment.
        let at = self.clock.wall().plus_ms(i64::try_from(self.texts).unwrap_or(i64::MAX));
        let findings = self.hls.observe(&hls::Observed { uri: uri.into(), at, text, delta });
        self.keep(findings);
    }

    fn keep(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let key = (finding.rule, finding.uri.clone());
            self.found.entry(key).or_insert((0, finding)).0 += 1;
        }
    }

    fn text(&mut self, uri: &str, query: &str) -> Result<String> {
        let body = self.fetch(uri, query)?;
        String::from_utf8(body).map_err(|error| Error::new(ErrorKind::InvalidData, error))
    }

    fn fetch(&mut self, uri: &str, query: &str) -> Result<Vec<u8>> {
        let asked = Instant::now();
        let answer = get(self.host, &format!("/{}/{uri}{query}", self.path))?;
        if answer.status == 503 && !query.is_empty() {
            // RFC 8216bis 6.2.5.2: the media did not come in time. What is there, then.
            let waited_s = asked.elapsed().as_secs();
            *self.answers.entry(format!("note: a blocking reload ended with 503 after {waited_s} s")).or_default() += 1;
            return self.fetch(uri, "");
        }
        if answer.status != 200 {
            return Err(Error::other(format!("{uri}{query} was answered with {}", answer.status)));
        }
        let end = uri.rsplit('.').next().unwrap_or_default();
        let wanted = TYPES.iter().find(|(known, _)| *known == end).map_or("", |(_, wanted)| wanted);
        if !answer.content_type.contains(wanted) {
            *self.answers.entry(format!("error: .{end} answered as {:?}", answer.content_type)).or_default() += 1;
        }
        Ok(answer.body)
    }

    fn has_errors(&self) -> bool {
        self.answers.keys().any(|text| text.starts_with("error"))
            || self.found.values().any(|(_, finding)| finding.severity == Severity::Error)
    }

    fn print(&self) -> Result<()> {
        let mut out = stdout().lock();
        for (text, times) in &self.answers {
            writeln!(out, "{times} x {text}")?;
        }
        for (times, finding) in self.found.values() {
            writeln!(out, "{times} x {finding}")?;
        }
        let playlists: Vec<&str> = self.newest.keys().map(String::as_str).collect();
        writeln!(
            out,
            "{} texts, {} segments, {}: {} findings",
            self.texts,
            self.sized.len(),
            playlists.join(" "),
            self.found.len()
        )
    }
}

struct Answer {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

/// One request on a connection of its own (RFC 9112).
fn get(host: &str, target: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(BODY_BYTES_MAX).read_to_end(&mut bytes)?;
    read_answer(&bytes)
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("{target}: no HTTP answer, or one cut short")))
}

fn read_answer(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let body = bytes.get(end + 4..)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim().to_owned())
    };
    let chunked = header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    let length = header("content-length").and_then(|text| text.parse::<usize>().ok());
    let whole = length.is_none_or(|length| length == body.len());
    whole.then(|| Answer { status, content_type: header("content-type").unwrap_or_default(), body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
