//! The packager over simulated time: every version of every playlist and manifest is linted.

use std::collections::{BTreeMap, BTreeSet};

use base::Wall;
use media::Sample;
use packager::{Config, Lookup, Presentation, Role, TrackName};
use testkit::{Finding, Samples, dash, hls};

/// 2026-11-20T09:00:00Z.
const BEGIN: Wall = Wall::from_unix_ms(1_795_165_200_000);

/// A track of a source, and how long its samples are on their way.
#[derive(Clone)]
struct Source {
    name: TrackName,
    role: Role,
    samples: Samples,
    lag_ms: i64,
}

fn video(samples: Samples) -> Source {
    Source { name: TrackName::source_video(), role: Role::Leader, samples, lag_ms: 0 }
}

fn audio(samples: Samples) -> Source {
    Source { name: TrackName::source_audio(), role: Role::Audio, samples, lag_ms: 0 }
}

fn rendition(samples: Samples, lag_ms: i64) -> Source {
    Source { name: TrackName::new("v1").unwrap(), role: Role::Rendition, samples, lag_ms }
}

/// A presentation under the linters.
struct Run {
    presentation: Presentation,
    now: Wall,
    seen: Option<u64>,
    names: Vec<TrackName>,
    sized: BTreeSet<(TrackName, u64)>,
    hls: hls::Linter,
    delta: hls::Linter,
    dash: dash::Linter,
    findings: BTreeMap<(&'static str, String), (usize, Finding)>,
    versions: usize,
}

impl Run {
    fn new(config: Config) -> Self {
        Self {
            presentation: Presentation::new(config),
            now: BEGIN,
            seen: None,
            names: Vec::new(),
            sized: BTreeSet::new(),
            hls: hls::Linter::default(),
            delta: hls::Linter::default(),
            dash: dash::Linter::default(),
            findings: BTreeMap::new(),
            versions: 0,
        }
    }

    fn begin(&mut self, sources: &[Source]) {
        self.presentation.begin_epoch(self.now);
        sources.iter().for_each(|source| self.set(source));
    }

    fn set(&mut self, source: &Source) {
        if !self.names.contains(&source.name) {
            self.names.push(source.name.clone());
        }
        self.presentation.set_track(&source.name, source.role, source.samples.track()).unwrap();
        self.lint();
    }

    /// Plays what arrives from `from_ms` to `to_ms` of the source's time.
    fn play(&mut self, sources: &[Source], from_ms: i64, to_ms: i64) {
        let began = self.now;
        for (at_ms, name, sample) in arrivals(sources, to_ms) {
            if (from_ms..to_ms).contains(&at_ms) {
                self.now = began.plus_ms(at_ms - from_ms);
                self.presentation.push(&name, sample).unwrap();
                self.presentation.expire(self.now);
                self.lint();
            }
        }
        self.now = began.plus_ms(to_ms - from_ms);
    }

    fn end_epoch(&mut self) {
        self.presentation.end_epoch(self.now);
        self.lint();
    }

    fn finish(&mut self) {
        self.end_epoch();
        self.presentation.end();
        self.lint();
    }

    /// Lints every text of a version that was not seen yet. Each version counts as a moment of its own.
    fn lint(&mut self) {
        if self.seen.replace(self.presentation.version()) == Some(self.presentation.version()) {
            return;
        }
        self.versions += 1;
        self.measure();
        if let Ok(text) = self.presentation.multivariant_playlist() {
            self.observe("index.m3u8".into(), &text);
        }
        for name in self.names.clone() {
            let Lookup::Found(text) = self.presentation.media_playlist(&name, false) else { continue };
            self.observe(format!("{name}/index.m3u8"), &text);
        }
        if let Ok(mpd) = self.presentation.mpd(self.now) {
            let findings = self.dash.observe("manifest.mpd", std::str::from_utf8(&mpd).unwrap());
            self.keep(findings);
        }
    }

    fn observe(&mut self, uri: String, text: &[u8]) {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let mut seen = hls::Observed { uri: uri.clone(), at: BEGIN.plus_ms(self.versions as i64), text, delta: false };
        let findings = self.hls.observe(&seen);
        self.keep(findings);
        // The full playlist of the same moment is known, and the delta update has to give the same.
        let name = uri.split('/').next().and_then(|name| TrackName::new(name).ok());
        let Some(Lookup::Found(delta)) = name.map(|name| self.presentation.media_playlist(&name, true)) else { return };
        seen.text = String::from_utf8(delta.to_vec()).unwrap();
        if seen.text.contains("#EXT-X-SKIP") {
            seen.delta = true;
            let findings = self.hls.observe(&seen);
            self.keep(findings);
        }
        // A client that asks for nothing but delta updates after its first playlist.
        let findings = self.delta.observe(&seen);
        self.keep(findings);
    }

    fn measure(&mut self) {
        for name in &self.names {
            let Lookup::Found(text) = self.presentation.media_playlist(name, false) else { continue };
            for (msn, _) in hls::segments(std::str::from_utf8(&text).unwrap()) {
                if !self.sized.insert((name.clone(), msn)) {
                    continue;
                }
                let bytes = self.presentation.segment(name, msn).found().and_then(|plan| plan.len());
                self.hls.measured(&format!("{name}/index.m3u8"), msn, bytes.unwrap());
            }
        }
    }

    fn keep(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let key = (finding.rule, finding.uri.clone());
            self.findings.entry(key).or_insert((0, finding)).0 += 1;
        }
    }

    fn playlist(&self, name: &str) -> String {
        let name = TrackName::new(name).unwrap();
        String::from_utf8(self.presentation.media_playlist(&name, false).found().unwrap().to_vec()).unwrap()
    }

    /// Asserts that nothing was found.
    fn clean(&self) {
        self.clean_but(&[]);
    }

    /// Asserts that nothing was found but what the packager is known to do.
    fn clean_but(&self, known: &[&str]) {
        let found = self.findings.values().filter(|(_, first)| !known.contains(&first.rule));
        let lines: Vec<String> = found.map(|(times, first)| format!("{times} x {first}")).collect();
        assert!(lines.is_empty(), "{} versions:\n{}", self.versions, lines.join("\n"));
        assert!(self.versions > 20, "{} versions", self.versions);
    }
}

/// All samples in the order they arrive, with the source's time of their arrival.
fn arrivals(sources: &[Source], to_ms: i64) -> Vec<(i64, TrackName, Sample)> {
    let mut all = Vec::new();
    for source in sources {
        let timescale = source.samples.track().timescale;
        let samples = source.samples.until_ms(to_ms).into_iter();
        all.extend(samples.map(|sample| (timescale.to_ms(sample.dts) + source.lag_ms, source.name.clone(), sample)));
    }
    all.sort_by_key(|(at_ms, ..)| *at_ms);
    all
}

fn check(sources: &[Source], duration_ms: i64) -> Run {
    let mut run = Run::new(Config::default());
    run.begin(sources);
    run.play(sources, 0, duration_ms);
    run.finish();
    run.clean();
    run
}

#[test]
fn regular_sources() {
    for (numerator, denominator, gop) in [(30, 1, 60), (25, 1, 50), (30_000, 1_001, 60), (60, 1, 120), (24, 1, 24)] {
        let picture = Samples::video_720p().frame_rate(numerator, denominator).gop(&[gop]);
        check(&[video(picture.clone().rtmp()), audio(Samples::audio_48k().rtmp())], 20_000);
        check(&[video(picture), audio(Samples::audio_44k())], 20_000);
    }
}

/// The first parts are cut before the samples contradict the header, and PART-TARGET stays.
#[test]
fn a_header_that_lies_about_its_frame_rate_makes_short_parts_and_nothing_worse() {
    let picture = Samples::video_720p().frame_rate(24, 1).claiming(30, 1).gop(&[24]);
    let sources = [video(picture), audio(Samples::audio_48k())];
    let mut run = Run::new(Config::default());
    run.begin(&sources);
    run.play(&sources, 0, 20_000);
    run.finish();
    run.clean_but(&["part-under-target"]);
}

#[test]
fn b_frames() {
    let picture = Samples::video_720p().frame_rate(25, 1).gop(&[50]).b_frames(3);
    check(&[video(picture.clone()), audio(Samples::audio_48k())], 16_000);
    check(&[video(picture.rtmp()), audio(Samples::audio_44k().rtmp())], 16_000);
}

#[test]
fn times_rounded_and_a_little_late() {
    for seed in 0..4 {
        let picture = Samples::video_720p().jitter_ms(1).seed(seed);
        check(&[video(picture), audio(Samples::audio_48k().jitter_ms(1).seed(seed))], 16_000);
    }
}

/// PART-TARGET allows for two milliseconds: beyond that a part may hold a frame less, which is all that happens.
#[test]
fn times_far_off_make_short_parts_and_nothing_worse() {
    for seed in 0..4 {
        let sources =
            [video(Samples::video_720p().jitter_ms(8).seed(seed)), audio(Samples::audio_48k().jitter_ms(4).seed(seed))];
        let mut run = Run::new(Config::default());
        run.begin(&sources);
        run.play(&sources, 0, 16_000);
        run.finish();
        run.clean_but(&["part-under-target"]);
    }
}

#[test]
fn a_ladder_that_comes_late() {
    let ladder = [
        video(Samples::video_720p().rtmp()),
        audio(Samples::audio_48k().rtmp()),
        rendition(Samples::video_360p().rtmp(), 700),
    ];
    check(&ladder, 20_000);
    let mut run = Run::new(Config::default());
    run.begin(&ladder[..2]);
    run.play(&ladder[..2], 0, 5_100);
    run.set(&ladder[2]);
    run.play(&ladder, 5_100, 20_000);
    run.finish();
    run.clean();
}

#[test]
fn republishing() {
    let sources = [video(Samples::video_720p()), audio(Samples::audio_48k()), rendition(Samples::video_360p(), 300)];
    let mut run = Run::new(Config { window_ms: 20_000, ..Config::default() });
    for _ in 0..4 {
        run.begin(&sources);
        run.play(&sources, 0, 9_300);
        run.end_epoch();
        run.now = run.now.plus_ms(3_210);
    }
    run.finish();
    // Parts cut for another PART-TARGET are not listed beside the new one (4.4.4.9 bounds them by it).
    run.clean_but(&["part-vanished"]);
    assert!(run.playlist("v0").contains("#EXT-X-DISCONTINUITY\n"));
}

/// Publishers go away between a picture and its sound, and encoders keep the last pictures of a rendition.
#[test]
fn tracks_that_do_not_end_together() {
    let sources = [video(Samples::video_720p()), audio(Samples::audio_44k()), rendition(Samples::video_360p(), 400)];
    for (video_ms, audio_ms) in [(9_300, 9_000), (9_300, 9_600), (11_990, 12_100), (12_010, 11_900), (12_030, 12_030)] {
        let mut run = Run::new(Config::default());
        for _ in 0..2 {
            run.begin(&sources);
            let first = video_ms.min(audio_ms);
            run.play(&sources, 0, first);
            let rest = if video_ms > audio_ms { &sources[..1] } else { &sources[1..2] };
            run.play(rest, first, video_ms.max(audio_ms));
            run.end_epoch();
            run.now = run.now.plus_ms(3_000);
        }
        run.finish();
        // A track that ends early has its last segment short, and a gap or the next epoch follows.
        run.clean_but(&["part-vanished", "date-time-continuity"]);
    }
}

#[test]
fn an_interrupted_rendition() {
    let sources = [video(Samples::video_720p()), audio(Samples::audio_48k()), rendition(Samples::video_360p(), 400)];
    let mut run = Run::new(Config::default());
    run.begin(&sources);
    run.play(&sources, 0, 9_300);
    run.presentation.interrupt(&[sources[2].name.clone()], run.now);
    run.lint();
    run.play(&sources[..2], 9_300, 10_900);
    run.play(&sources, 10_900, 22_000);
    run.finish();
    run.clean();
    assert!(run.playlist("v1").contains("#EXT-X-GAP"));
}

#[test]
fn a_rendition_that_is_shed_and_comes_back() {
    let sources = [video(Samples::video_720p()), audio(Samples::audio_48k()), rendition(Samples::video_360p(), 400)];
    let mut run = Run::new(Config::default());
    run.begin(&sources);
    run.play(&sources, 0, 7_000);
    run.presentation.remove_track(&sources[2].name);
    run.lint();
    run.play(&sources[..2], 7_000, 13_000);
    run.set(&sources[2]);
    run.play(&sources, 13_000, 24_000);
    run.finish();
    // The segment that was open then stays short, without a discontinuity on the other tracks to tell of it.
    run.clean_but(&["date-time-continuity"]);
}

#[test]
fn a_codec_change() {
    let mut sources = [video(Samples::video_720p()), audio(Samples::audio_48k())];
    let mut run = Run::new(Config::default());
    run.begin(&sources);
    run.play(&sources, 0, 8_500);
    sources[0].samples = Samples::video_360p();
    run.set(&sources[0]);
    run.play(&sources, 8_500, 16_500);
    sources[1].samples = Samples::audio_44k();
    run.set(&sources[1]);
    run.play(&sources, 16_500, 26_000);
    run.finish();
    run.clean();
    assert_eq!(run.playlist("v0").matches("#EXT-X-DISCONTINUITY\n").count(), 2);
}

#[test]
fn a_group_of_pictures_over_the_target() {
    let sources = [video(Samples::video_720p().gop(&[60, 60, 150, 60])), audio(Samples::audio_48k())];
    let run = check(&sources, 30_000);
    assert!(run.presentation.stats().forced_cuts > 0);
}

#[test]
fn a_long_window_that_moves() {
    let sources = [video(Samples::video_720p().gop(&[30])), audio(Samples::audio_44k())];
    let mut run = Run::new(Config { window_ms: 16_000, ..Config::default() });
    run.begin(&sources);
    run.play(&sources, 0, 60_000);
    run.finish();
    run.clean();
}

#[test]
fn sound_alone() {
    let sound = Source { role: Role::Leader, ..audio(Samples::audio_48k()) };
    check(&[sound], 15_000);
}

/// The Target Duration of a stream is not known before its first group of pictures ends, and playback does not wait for that: it
/// may rise while that lasts, and never later.
#[test]
fn a_long_first_group_of_pictures_changes_the_target_at_most_while_it_lasts() {
    let sources = [video(Samples::video_720p().gop(&[240])), audio(Samples::audio_48k())];
    let mut run = Run::new(Config::default());
    run.begin(&sources);
    run.play(&sources, 0, 8_300);
    let changes = |run: &Run| -> Vec<usize> {
        let changed = run.findings.iter().filter(|((rule, _), _)| *rule == "target-changed");
        changed.map(|(_, (times, _))| *times).collect()
    };
    let first = changes(&run);
    assert!(run.playlist("v0").contains("#EXT-X-TARGETDURATION:8\n"));
    run.play(&sources, 8_300, 30_000);
    run.finish();
    assert_eq!(changes(&run), first);
    run.clean_but(&["target-changed"]);
}
