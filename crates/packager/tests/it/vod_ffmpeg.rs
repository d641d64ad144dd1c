//! Media of FFmpeg packaged on demand, and read again by FFmpeg.

use std::{
    fs,
    ops::Range,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use media::{Sample, Track, mp4};
use packager::vod::{
    Presentation, SegmentRule, Stretch, TextTrack, TrackIndex, TrackWriter, Variant, iframe_playlist, media_playlist,
    mpd, multivariant_playlist, progressive, subtitle_playlist, webvtt_segment,
};

/// Four seconds with B-frames, and sound with an encoder's priming.
const SOURCE: &[&str] = &[
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=160x90:rate=25:duration=4",
    "-f",
    "lavfi",
    "-i",
    "sine=440:duration=4:sample_rate=48000",
];
const CODECS: &[&str] =
    &["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "3", "-pix_fmt", "yuv420p", "-c:a", "aac"];
const VTT: &str = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nhello\n";

fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    let output = command.stdin(Stdio::null()).args(args).output();
    output.unwrap_or_else(|error| panic!("these tests need {program} on the PATH (apt install ffmpeg): {error}"))
}

fn said(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    assert_eq!(error, "", "{program} {args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A folder that goes away with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vod-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The tracks that FFmpeg makes with these arguments.
fn encode(args: &[&[&str]]) -> Vec<(Track, Vec<Sample>)> {
    let folder = Folder::new();
    let path = folder.path("source.mp4");
    let format = ["-f", "mp4", "-movflags", "frag_keyframe+delay_moov+default_base_moof", &path];
    said("ffmpeg", &[&["-v", "error", "-nostdin", "-y"][..], &args.concat(), &format].concat());
    let mut demuxer = mp4::Demuxer::new();
    demuxer.push(&fs::read(&path).unwrap()).unwrap();
    let mut tracks: Vec<(u32, Track, Vec<Sample>)> = Vec::new();
    while let Some(event) = demuxer.poll() {
        match event {
            mp4::Event::Track { track_id, track } => tracks.push((track_id, track, Vec::new())),
            mp4::Event::Chunk(chunk) => {
                tracks.iter_mut().find(|track| track.0 == chunk.track_id).unwrap().2.extend(chunk.samples);
            }
        }
    }
    tracks.into_iter().map(|(_, track, samples)| (track, samples)).collect()
}

fn package(track: &Track, samples: &[Sample], target_ms: u32, zero_90k: i64) -> (Bytes, TrackIndex) {
    let mut writer = TrackWriter::new(track.clone(), SegmentRule { target_ms }).zero_at(zero_90k);
    let mut file: Vec<Bytes> = samples.iter().flat_map(|sample| writer.push(sample.clone()).unwrap()).collect();
    let (rest, index) = writer.finish().unwrap();
    file.extend(rest);
    let file = Bytes::from(file.concat());
    assert_eq!(file.len() as u64, index.bytes());
    let json = serde_json::to_string(&index).unwrap();
    assert_eq!(serde_json::from_str::<TrackIndex>(&json).unwrap(), index);
    (file, index)
}

fn part(file: &Bytes, range: Range<u64>) -> Bytes {
    file.slice(range.start as usize..range.end as usize)
}

/// An asset as it would be served, as files.
struct Asset {
    folder: Folder,
    tracks: Vec<(&'static str, Bytes, TrackIndex)>,
}

impl Asset {
    fn new(tracks: Vec<(&'static str, Bytes, TrackIndex)>) -> Self {
        let asset = Self { folder: Folder::new(), tracks };
        let variants: Vec<Variant> = asset.tracks.iter().map(|(name, _, index)| variant(name, index)).collect();
        let texts = [TextTrack { name: "s0", language: Some("en"), label: Some("English"), default: false }];
        let presentation = Presentation { variants: &variants, texts: &texts, images: None };
        let folder = &asset.folder;
        // FFmpeg 5.1 ends a presentation with its text track: it gets the sound and pictures alone.
        let without_text = Presentation { texts: &[], ..presentation };
        folder.write("index.m3u8", multivariant_playlist(&without_text));
        folder.write("manifest.mpd", mpd(&without_text));
        folder.write("s0.vtt", VTT);
        folder.write("s0/index.m3u8", subtitle_playlist(presentation.duration_ms(), ""));
        folder.write("s0/0.vtt", webvtt_segment(VTT));
        for (name, file, index) in &asset.tracks {
            folder.write(&format!("{name}/index.m3u8"), media_playlist(index, "t1/"));
            folder.write(&format!("{name}/iframes.m3u8"), iframe_playlist(index, "t1/"));
            folder.write(&format!("{name}/t1/init.mp4"), &index.init);
            for (n, segment) in index.segments.iter().enumerate() {
                let bytes = part(file, segment.offset..segment.offset + segment.bytes);
                folder.write(&format!("{name}/t1/{n}.m4s"), bytes);
            }
        }
        folder.write("movie.mp4", asset.movie());
        asset
    }

    fn movie(&self) -> Vec<u8> {
        let whole = progressive(&self.tracks[0].2, self.tracks.get(1).map(|track| &track.2)).unwrap();
        let mut bytes = whole.head.to_vec();
        for (track, piece) in &whole.pieces {
            bytes.extend_from_slice(&part(&self.tracks[*track].1, piece.clone()));
        }
        assert_eq!(bytes.len() as u64, whole.bytes);
        bytes
    }
}

fn variant<'a>(name: &'a str, index: &'a TrackIndex) -> Variant<'a> {
    Variant { name, folder: "t1/", index, language: None, label: None, default: true }
}

/// The stream's start in seconds, and its decoded frames. One stream at a time: the DASH demuxer of FFmpeg ends with the shortest.
fn decoded(path: &str, stream: &str) -> (f64, u64) {
    let entries = "stream=start_time,nb_read_frames";
    // On disk FFmpeg opens the extensions alone that it knows.
    let any: &[&str] = if path.ends_with(".mp4") { &[] } else { &["-allowed_extensions", "ALL"] };
    let args =
        ["-v", "warning", "-select_streams", stream, "-count_frames", "-show_entries", entries, "-of", "csv=p=0"];
    let text = said("ffprobe", &[any, &args, &[path]].concat());
    let line = text.lines().find(|line| !line.is_empty()).unwrap_or_else(|| panic!("{path} has no {stream}"));
    let (start, frames) = line.trim_end_matches(',').split_once(',').unwrap();
    (start.parse().unwrap(), frames.parse().unwrap())
}

fn check(asset: &Asset, frames: u64, packets: u64, apart_s: f64) {
    for path in ["index.m3u8", "manifest.mpd", "movie.mp4"] {
        let (video, pictures) = decoded(&asset.folder.path(path), "v:0");
        let (audio, sounds) = decoded(&asset.folder.path(path), "a:0");
        assert_eq!((pictures, sounds), (frames, packets), "{path}");
        assert!((audio - video - apart_s).abs() < 0.001, "{path}: {video} {audio}");
    }
    let movie = fs::read(asset.folder.path("movie.mp4")).unwrap();
    let at = |kind: &[u8]| movie.windows(4).position(|window| window == kind).unwrap();
    assert!(at(b"moov") < at(b"mdat"));
    check_bytes(asset, &movie);
}

/// The samples in the segments are the samples in the movie, byte for byte.
fn check_bytes(asset: &Asset, movie: &[u8]) {
    let whole = progressive(&asset.tracks[0].2, asset.tracks.get(1).map(|track| &track.2)).unwrap();
    let mut payloads = vec![Vec::new(); asset.tracks.len()];
    let mut at = whole.head.len();
    for (track, piece) in &whole.pieces {
        let bytes = (piece.end - piece.start) as usize;
        payloads[*track].extend_from_slice(&movie[at..at + bytes]);
        at += bytes;
    }
    for (n, (_, file, index)) in asset.tracks.iter().enumerate() {
        let mut samples = Vec::new();
        for segment in &index.segments {
            let chunks = mp4::read_chunks(&part(file, segment.offset..segment.offset + segment.bytes)).unwrap();
            samples.extend(chunks.into_iter().flat_map(|chunk| chunk.samples));
        }
        let told: Vec<_> = index.samples().map(|s| (s.dts, s.pts(), s.duration, s.bytes as usize, s.sync)).collect();
        let read: Vec<_> = samples.iter().map(|s| (s.dts, s.pts(), s.duration, s.payload.len(), s.sync)).collect();
        assert_eq!(told, read);
        assert_eq!(payloads[n], samples.iter().flat_map(|sample| sample.payload.to_vec()).collect::<Vec<u8>>());
    }
}

#[test]
fn hls_dash_and_progressive_decode_without_a_warning() {
    let [(video, pictures), (audio, sounds)] = &encode(&[SOURCE, CODECS])[..] else { panic!("two tracks") };
    assert!(pictures[0].dts < 0 && sounds[0].dts < 0, "reordering and priming lie before the beginning");
    let (video_file, video_index) = package(video, pictures, 2_000, 0);
    let (audio_file, audio_index) = package(audio, sounds, 2_000, 0);
    assert_eq!((video_index.segments.len(), audio_index.segments.len()), (2, 2));
    assert_eq!(video_index.frame_rate, Some((25, 1)));
    let asset = Asset::new(vec![("v90", video_file, video_index), ("a0", audio_file, audio_index)]);
    check(&asset, 100, sounds.len() as u64 - 1, 0.0);
}

#[test]
fn a_source_that_begins_late_and_its_later_sound_keep_their_distance() {
    // From 7.5 s on; the sound begins 300 ms after the pictures.
    let late = ["-af", "asetpts=PTS+0.3/TB", "-output_ts_offset", "7.5"];
    let [(video, pictures), (audio, sounds)] = &encode(&[SOURCE, CODECS, &late])[..] else { panic!("two tracks") };
    let zero = base::time::rescale(pictures[0].pts(), video.timescale, base::Timescale::VIDEO);
    assert_eq!(zero, 675_000);
    let (video_file, video_index) = package(video, pictures, 1_000, zero);
    let (audio_file, audio_index) = package(audio, sounds, 1_000, zero);
    assert_eq!(video_index.start_ticks, video_index.zero_ticks);
    let apart = audio.timescale.display_seconds(audio_index.start_ticks - audio_index.zero_ticks);
    let kept = sounds.len() as u64;
    let asset = Asset::new(vec![("v90", video_file, video_index), ("a0", audio_file, audio_index)]);
    check(&asset, 100, kept, apart);
}

#[test]
fn sound_alone() {
    let [(audio, sounds)] = &encode(&[&SOURCE[4..], &["-c:a", "libopus"]])[..] else { panic!("one track") };
    let (file, index) = package(audio, sounds, 2_000, 0);
    let asset = Asset::new(vec![("a0", file, index)]);
    for path in ["index.m3u8", "manifest.mpd", "movie.mp4"] {
        assert_eq!(decoded(&asset.folder.path(path), "a:0").1, sounds.len() as u64, "{path}");
    }
}

#[test]
fn key_frames_alone_decode() {
    let [(video, pictures), _] = &encode(&[SOURCE, CODECS])[..] else { panic!("two tracks") };
    let (file, index) = package(video, pictures, 2_000, 0);
    let playlist = iframe_playlist(&index, "");
    let ranges: Vec<(u64, u64)> = playlist
        .lines()
        .filter_map(|line| line.strip_prefix("#EXT-X-BYTERANGE:")?.split_once('@'))
        .map(|(bytes, offset)| (bytes.parse().unwrap(), offset.parse().unwrap()))
        .collect();
    let segments: Vec<usize> = playlist.lines().filter_map(|line| line.strip_suffix(".m4s")?.parse().ok()).collect();
    assert_eq!(segments, [0, 0, 1, 1]);
    let folder = Folder::new();
    for ((bytes, offset), segment) in ranges.into_iter().zip(segments) {
        let start = index.segments[segment].offset + offset;
        folder.write("frame.mp4", [&index.init[..], &part(&file, start..start + bytes)].concat());
        let jpeg =
            run("ffmpeg", &["-v", "quiet", "-i", &folder.path("frame.mp4"), "-frames:v", "1", "-f", "mjpeg", "-"]);
        assert!(jpeg.stdout.len() > 500, "{} bytes", jpeg.stdout.len());
    }
}

#[test]
fn every_range_of_the_movie_is_the_movie() {
    let [(video, pictures), (audio, sounds)] = &encode(&[SOURCE, CODECS])[..] else { panic!("two tracks") };
    let (video_file, video_index) = package(video, pictures, 2_000, 0);
    let (audio_file, audio_index) = package(audio, sounds, 2_000, 0);
    let whole = progressive(&video_index, Some(&audio_index)).unwrap();
    let asset = Asset::new(vec![("v90", video_file, video_index), ("a0", audio_file, audio_index)]);
    let movie = asset.movie();
    let read = |range: Range<u64>| -> Vec<u8> {
        let bytes = whole.stretches(range).map(|stretch| match stretch {
            Stretch::Head(range) => whole.head.slice(range),
            Stretch::Track(track, range) => part(&asset.tracks[track].1, range),
        });
        bytes.collect::<Vec<_>>().concat()
    };
    let mut edges = vec![0, whole.head.len() as u64, whole.bytes];
    let mut at = whole.head.len() as u64;
    for (_, piece) in &whole.pieces {
        at += piece.end - piece.start;
        edges.push(at);
    }
    let near: Vec<u64> = edges.iter().flat_map(|&edge| [edge.saturating_sub(1), edge, edge + 1]).collect();
    for &start in &near {
        for &end in near.iter().filter(|end| start <= **end) {
            let want = &movie[(start as usize).min(movie.len())..(end as usize).min(movie.len())];
            assert_eq!(read(start..end), want, "{start}..{end}");
        }
    }
}
