//! Chunks that join, processes that end.

use std::sync::Mutex;

use transcode::vod::{
    self, AnalyseSpec, AudioCodec, AudioEncode, Class, Input, RungSpec, StoryboardSpec, TrackKind, VideoCodec, Work,
};

use crate::{
    support::assert_goes_away,
    vod_support::{Bench, decoded_pts, digest, nowhere, pts, quick, read},
};

const X264: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 3 -c:a aac";

/// Encodes all chunks and checks that together they are the source's pictures.
async fn chunked(bench: &Bench, input: &Input, name: &str, chunk_ms: i64) -> (usize, Vec<i64>) {
    let analysis = bench.analyse(input, chunk_ms).await;
    let (mut all, mut tracks) = (Vec::new(), Vec::new());
    for chunk in &analysis.chunks {
        let out = format!("{name}-{}.mp4", chunk.index);
        let encoded = bench.encode(input, &quick(Some(chunk)), &out).await;
        let encoded = encoded.unwrap_or_else(|failure| panic!("{name} {}: {failure:?}", chunk.index));
        assert!(encoded.covers(chunk) && encoded.damaged == 0, "{name} {encoded:?} {chunk:?}");
        let (track, samples) = read(&bench.path(&out));
        let shown = pts(&samples);
        assert_eq!((encoded.frames, &encoded.digest, &digest(&shown)), (chunk.frames, &chunk.digest, &chunk.digest));
        assert_eq!((encoded.first_pts, encoded.end_pts), (chunk.start_pts, chunk.end_pts), "{name}");
        assert!(samples[0].sync && samples[0].pts() == chunk.start_pts, "{name}");
        let sync: Vec<_> = samples.iter().filter(|sample| sample.sync).map(|sample| sample.pts()).collect();
        assert_eq!(sync, chunk.keyframes, "{name}: sync pictures where they were planned");
        assert!(samples.windows(2).all(|pair| pair[0].dts + i64::from(pair[0].duration) == pair[1].dts));
        tracks.push(track);
        all.extend(shown);
    }
    assert!(tracks.windows(2).all(|pair| pair[0] == pair[1]), "{name}: one set of parameters");
    (analysis.chunks.len(), all)
}

#[tokio::test]
async fn chunks_of_every_kind_of_source_join_without_a_seam() {
    let bench = Bench::new().await;
    let sources = [
        ("mp4.mp4", "25", X264.to_owned(), 3),
        ("ts.ts", "25", format!("{X264} -f mpegts"), 3),
        ("open.ts", "30000/1001", "-c:v mpeg2video -g 15 -bf 2 -c:a mp2 -f mpegts".to_owned(), 3),
        (
            "open.mkv",
            "25",
            "-c:v libx264 -preset ultrafast -bf 3 -x264-params open-gop=1:keyint=25 -c:a aac".to_owned(),
            3,
        ),
        ("vfr.mkv", "50", format!("-vf select='not(mod(n,3))+lt(n,60)' -vsync vfr {X264}"), 3),
        ("avi.avi", "25", "-c:v mpeg4 -g 25 -bf 2 -c:a mp3 -b:a 64k".to_owned(), 1),
        ("late.ts", "25", format!("{X264} -output_ts_offset 80000 -f mpegts"), 3),
    ];
    for (name, rate, options, chunks_min) in sources {
        let input = bench.film(name, rate, 4, &options);
        let (chunks, mut joined) = chunked(&bench, &input, name, 1_000).await;
        assert!(chunks >= chunks_min, "{name}: {chunks} chunks");
        if name == "avi.avi" {
            // It has no presentation times: each decoder makes up its own.
            assert!(joined.len() == 100 && joined.windows(2).all(|pair| pair[0] < pair[1]));
            continue;
        }
        let expected = decoded_pts(&bench.path(name));
        let lift = joined[0] - expected[0];
        joined.iter_mut().for_each(|pts| *pts -= lift);
        assert_eq!(joined, expected, "{name}");
    }
}

#[tokio::test]
async fn a_chunked_encode_looks_like_a_serial_one() {
    let bench = Bench::new().await;
    let input = bench.film("a.mp4", "25", 4, X264);
    let (mut total, mut frames) = (0.0, 0);
    for chunk in &bench.analyse(&input, 1_000).await.chunks {
        let mut encode = quick(Some(chunk));
        encode.ssim = true;
        let encoded = bench.encode(&input, &encode, &format!("{}.mp4", chunk.index)).await.unwrap();
        total += encoded.ssim.unwrap() * encoded.frames as f64;
        frames += encoded.frames;
    }
    let mut serial = quick(None);
    serial.ssim = true;
    let serial = bench.encode(&input, &serial, "serial.mp4").await.unwrap();
    assert_eq!(serial.frames, frames);
    let (chunked, serial) = (total / frames as f64, serial.ssim.unwrap());
    assert!(serial > 0.9 && (chunked - serial).abs() <= 0.002, "{chunked} {serial}");
    let made = bench.input("serial.mp4");
    let quality = vod::quality(&bench.tool, &input, &made, &bench.limits, &bench.cancel, &nowhere);
    assert!((quality.await.unwrap().ssim - serial).abs() < 0.002);
}

#[tokio::test]
async fn pictures_over_the_frame_rate_are_left_out_alike_in_all_chunks() {
    let bench = Bench::new().await;
    let input = bench.film("a.mkv", "60", 3, &X264.replace("25", "60"));
    let mut kept = Vec::new();
    for chunk in &bench.analyse(&input, 1_000).await.chunks {
        let mut encode = quick(Some(chunk));
        encode.fps_max = Some(30);
        let name = format!("{}.mp4", chunk.index);
        let encoded = bench.encode(&input, &encode, &name).await.unwrap();
        assert!(encoded.covers(chunk));
        kept.extend(pts(&read(&bench.path(&name)).1));
    }
    let expected: Vec<_> = decoded_pts(&bench.path("a.mkv")).into_iter().step_by(2).collect();
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn odd_turned_interlaced_and_deep_pictures_come_out_plain() {
    let bench = Bench::new().await;
    bench.make("odd.mkv", "-f lavfi -i testsrc2=size=161x91:rate=25 -t 0.4 -c:v ffv1");
    bench.film("deep.mkv", "25", 1, "-pix_fmt yuv420p10le -c:v libx265 -x265-params log-level=none -preset ultrafast -color_trc smpte2084 -colorspace bt2020nc -color_primaries bt2020 -c:a aac");
    bench.film(
        "fields.ts",
        "25",
        1,
        "-vf tinterlace=interleave_top,fieldorder=tff -c:v mpeg2video -flags +ildct+ilme -top 1 -c:a mp2 -f mpegts",
    );
    bench.film("up.mp4", "25", 1, X264);
    bench.make("turned.mp4", "-i up.mp4 -c copy -metadata:s:v:0 rotate=90");
    for (name, deinterlace) in [("odd.mkv", false), ("deep.mkv", false), ("fields.ts", true), ("turned.mp4", false)] {
        let input = bench.input(name);
        let analysis = bench.analyse(&input, 10_000).await;
        let mut encode = quick(analysis.chunks.first());
        let video = bench.probe(&input).await.unwrap().video().unwrap().video.clone().unwrap();
        (encode.width, encode.height, encode.deinterlace) = (video.width, video.height, deinterlace);
        encode.ssim = true;
        let encoded = bench.encode(&input, &encode, "out.mp4").await.unwrap_or_else(|f| panic!("{name}: {f:?}"));
        assert_eq!(encoded.frames, analysis.frames, "{name}");
        assert!(encoded.ssim.unwrap() > 0.9, "{name}: {encoded:?}");
        let made = bench.probe(&bench.input("out.mp4")).await.unwrap().video().unwrap().video.clone().unwrap();
        assert_eq!((made.width, made.height, made.rotation), (video.width, video.height, 0), "{name}");
        assert_eq!((made.pixel_format.as_str(), made.sar), ("yuv420p", (1, 1)), "{name}");
    }
}

#[tokio::test]
async fn other_codecs_and_explicit_sync_pictures() {
    let bench = Bench::new().await;
    let input = bench.film("a.mp4", "25", 2, X264);
    let analysis = bench.analyse(&input, 1_000).await;
    let chunk = &analysis.chunks[1];
    for (codec, preset) in [(VideoCodec::Hevc, "ultrafast"), (VideoCodec::Vp9, "8"), (VideoCodec::Av1, "13")] {
        let mut encode = quick(Some(chunk));
        (encode.codec, encode.preset, encode.gop_ms) = (codec, preset.into(), 500);
        let encoded = bench.encode(&input, &encode, "out.mp4").await.unwrap_or_else(|f| panic!("{codec:?}: {f:?}"));
        assert!(encoded.covers(chunk), "{codec:?}");
    }
    let mut encode = quick(Some(chunk));
    let at = [chunk.start_pts, chunk.start_pts + 5 * 3_600, chunk.start_pts + 11 * 3_600];
    encode.keyframes_at = Some(at.to_vec());
    bench.encode(&input, &encode, "out.mp4").await.unwrap();
    let samples = read(&bench.path("out.mp4")).1;
    let sync: Vec<_> = samples.iter().filter(|sample| sample.sync).map(|sample| sample.pts()).collect();
    assert_eq!(sync, at);
}

#[tokio::test]
async fn sound_stays_where_it_is() {
    let bench = Bench::new().await;
    // A click at 0.5 s, in sound that begins at 0 and at 0.3 s.
    let click = "-f lavfi -i aevalsrc=if(between(t\\,0.5\\,0.52)\\,0.8*sin(t*6000)\\,0):s=48000:d=1.5";
    bench.make("zero.mkv", &format!("{click} -c:a flac"));
    let picture = "-f lavfi -i testsrc2=size=64x64:rate=25:d=2";
    bench.make("late.mkv", &format!("{picture} -itsoffset 0.3 {click} -map 0 -map 1 -c:v ffv1 -c:a flac"));
    let encode = async |name: &str, track: u32, codec: AudioCodec| {
        let spec = AudioEncode { track, codec, kbps: 96, channels: Some(2), gain_db: Some(-1.0) };
        let out = bench.path("sound.mp4");
        vod::encode_audio(&bench.tool, &bench.input(name), &spec, &out, &bench.limits, &bench.cancel, &nowhere).await
    };
    // Where the sound gets loud in the decoded output, in milliseconds on its own timeline.
    let onset = |first_pts: i64| {
        let mut command = std::process::Command::new("ffmpeg");
        command.args("-v error -i".split(' ')).arg(bench.path("sound.mp4"));
        let output = command.args("-f s16le -ac 1 -ar 48000 -".split(' ')).output().unwrap();
        let loud = output.stdout.chunks_exact(2).position(|pair| i16::from_le_bytes([pair[0], pair[1]]).abs() > 3_000);
        loud.unwrap() as i64 / 48 + first_pts / 90
    };
    let encoded = encode("zero.mkv", 0, AudioCodec::Aac).await.unwrap();
    assert_eq!(encoded.first_pts, 0);
    assert!((onset(encoded.first_pts) - 500).abs() <= 1, "{}", onset(encoded.first_pts));
    let encoded = encode("late.mkv", 1, AudioCodec::Aac).await.unwrap();
    assert_eq!(encoded.first_pts, 0, "silence before late sound");
    assert!((onset(encoded.first_pts) - 800).abs() <= 1, "{}", onset(encoded.first_pts));
    let encoded = encode("zero.mkv", 0, AudioCodec::Opus).await.unwrap();
    assert!((0..20 * 90).contains(&encoded.first_pts) && encoded.end_pts >= 134_000, "{encoded:?}");
    let missing = encode("late.mkv", 0, AudioCodec::Aac).await.unwrap_err();
    assert_eq!((missing.class, missing.code), (Class::Input, "no_such_track"));
}

#[tokio::test]
async fn a_track_is_taken_over_as_it_is() {
    let bench = Bench::new().await;
    let input = bench.film("a.ts", "25", 2, &format!("{X264} -f mpegts"));
    let probe = bench.probe(&input).await.unwrap();
    let analysis = bench.analyse(&input, 10_000).await;
    let copy = async |track: u32, name: &str| {
        let out = bench.path(name);
        vod::copy_track(&bench.tool, &input, track, &out, &bench.limits, &bench.cancel, &nowhere).await
    };
    let video = copy(probe.video().unwrap().index, "v.mp4").await.unwrap();
    assert_eq!((video.frames, video.first_pts), (analysis.frames, analysis.first_pts));
    assert!(video.covers(&analysis.chunks[0]));
    let sound = copy(probe.audio().unwrap().index, "a.mp4").await.unwrap();
    assert!(sound.end_pts - sound.first_pts >= 175_000, "{sound:?}");
    let mp3 = bench.film("b.mkv", "25", 1, "-c:v libx264 -preset ultrafast -c:a flac");
    let failure =
        vod::copy_track(&bench.tool, &mp3, 1, &bench.path("x.mp4"), &bench.limits, &bench.cancel, &nowhere).await;
    assert_eq!(failure.unwrap_err().code, "not_packagable");
}

#[tokio::test]
async fn posters_storyboards_and_subtitles() {
    let bench = Bench::new().await;
    let dark = "-f lavfi -i color=black:size=160x90:rate=10:d=1.5";
    let bright = "-f lavfi -i testsrc2=size=160x90:rate=10:d=3";
    std::fs::write(bench.path("s.srt"), "1\n00:00:00,200 --> 00:00:00,900\nHello & bye\n\n").unwrap();
    let graph = "-filter_complex [0:v][1:v]concat[v] -map [v] -map 2:s";
    let input =
        bench.make("a.mkv", &format!("{dark} {bright} -i s.srt {graph} -c:v libx264 -preset ultrafast -c:s srt"));
    let Bench { tool, limits, cancel, .. } = &bench;
    let poster = bench.path("poster.jpg");
    vod::poster(tool, &input, 0, 80, &poster, limits, cancel).await.unwrap();
    let luma = |name: &str| {
        let mut command = std::process::Command::new("ffmpeg");
        command.args("-v error -i".split(' ')).arg(bench.path(name));
        let output = command.args("-vf scale=1:1,format=gray -f rawvideo -".split(' ')).output().unwrap();
        output.stdout[0]
    };
    assert!(luma("poster.jpg") > 60, "a poster is not black");
    vod::poster(tool, &input, 99_000, 80, &poster, limits, cancel).await.unwrap();
    let spec = StoryboardSpec { interval_ms: 500, columns: 2, rows: 2, width: 64 };
    let sheets = vod::storyboard(tool, &input, &spec, bench.dir.path(), limits, cancel, &nowhere).await.unwrap();
    assert!((8..=10).contains(&sheets.count), "{sheets:?}");
    assert_eq!((sheets.sheets.len(), sheets.height), (sheets.count.div_ceil(4) as usize, 36));
    assert!(sheets.sheets.iter().all(|sheet| bench.path(sheet).is_file()));
    let probe = bench.probe(&input).await.unwrap();
    let track = probe.of_kind(TrackKind::Subtitle).next().unwrap().index;
    vod::subtitles(tool, &input, track, &bench.path("s.vtt"), limits, cancel).await.unwrap();
    let text = std::fs::read_to_string(bench.path("s.vtt")).unwrap();
    assert!(text.contains("00:00.200 --> 00:00.900") && text.contains("Hello"), "{text}");
}

#[tokio::test]
async fn loudness_complexity_and_a_ladder_of_its_own() {
    let bench = Bench::new().await;
    let input = bench.film("a.mp4", "25", 3, X264);
    let probe = bench.probe(&input).await.unwrap();
    let spec = AnalyseSpec {
        video_track: Some(0),
        audio_track: Some(1),
        chunk_ms: 1_000,
        gop_ms: 1_000,
        loudness: true,
        complexity: true,
    };
    let Bench { tool, limits, cancel, .. } = &bench;
    let told: Mutex<Vec<Work>> = Mutex::default();
    let note = |work: Work| told.lock().unwrap().push(work);
    let analysis = vod::analyse(tool, &input, &probe, &spec, limits, cancel, &note).await.unwrap();
    let loudness = analysis.loudness.unwrap();
    assert!((-25.0..-15.0).contains(&loudness.integrated_lufs), "{loudness:?}");
    assert!(analysis.complexity.is_some_and(|bits| bits > 0.01), "{:?}", analysis.complexity);
    let told = told.into_inner().unwrap();
    assert!(told.windows(2).all(|pair| pair[0].permille <= pair[1].permille), "{told:?}");
    assert_eq!(told.last().unwrap().permille, 1_000);
    let rungs = [RungSpec { width: 160, height: 90, kbps: 300 }, RungSpec { width: 80, height: 44, kbps: 100 }];
    let chosen = vod::per_title(tool, &input, &probe, &analysis, &rungs, limits, cancel, &nowhere).await.unwrap();
    assert_eq!(chosen.len(), 2, "{chosen:?}");
    assert!(chosen.iter().zip(&rungs).all(|(choice, rung)| choice.kbps_max <= rung.kbps * 3 / 2 && choice.score > 1.0));
}

#[tokio::test]
async fn an_encoder_that_ends_well_with_a_short_file_is_found_out() {
    let mut bench = Bench::new().await;
    let input = bench.film("a.mp4", "25", 3, X264);
    let analysis = bench.analyse(&input, 10_000).await;
    // Half the output; and a whole file of half the source.
    for script in [
        "\"$real\" \"$@\" | head -c 20000; exit 0",
        "n=$#; for a; do [ \"$a\" = -i ] && set -- \"$@\" -t 1; set -- \"$@\" \"$a\"; done; shift $n; exec \"$real\" \"$@\"",
    ] {
        bench.tool.ffmpeg = "ffmpeg".into();
        bench.fake_ffmpeg(script);
        let failure = bench.encode(&input, &quick(analysis.chunks.first()), "out.mp4").await.unwrap_err();
        assert_eq!((failure.class, failure.code), (Class::Transient, "short_output"), "{failure:?}");
        assert!(!bench.path("out.mp4").exists(), "nothing unfinished is left");
    }
}

#[tokio::test]
async fn a_stalled_encoder_and_a_cancelled_one_are_killed_with_their_children() {
    let mut bench = Bench::new().await;
    let input = bench.film("a.mp4", "25", 1, X264);
    let pids = bench.path("pids");
    std::process::Command::new("mkfifo").arg(&pids).status().unwrap();
    bench.fake_ffmpeg(&format!("sleep 600 & echo $$ $! > {}; wait", pids.display()));
    let read_pids = || {
        let pids = pids.clone();
        tokio::task::spawn_blocking(move || {
            let text = std::fs::read_to_string(pids).unwrap();
            text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()).collect::<Vec<_>>()
        })
    };
    bench.limits.stall_ms = 300;
    let reader = read_pids();
    let failure = bench.encode(&input, &quick(None), "out.mp4").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Transient, "stalled"));
    reader.await.unwrap().into_iter().for_each(assert_goes_away);

    bench.limits.stall_ms = 600_000;
    let cancel = bench.cancel.clone();
    let reader = read_pids();
    let (failure, pids) =
        tokio::join!(async { bench.encode(&input, &quick(None), "out.mp4").await.unwrap_err() }, async {
            let pids = reader.await.unwrap();
            cancel.cancel();
            pids
        });
    assert_eq!(failure.code, "cancelled");
    pids.into_iter().for_each(assert_goes_away);
    assert!(!bench.path("out.mp4").exists());
}

#[tokio::test]
async fn limits_are_kept() {
    let mut bench = Bench::new().await;
    let input = bench.film("a.mp4", "25", 3, X264);
    bench.limits.file_bytes = Some(10_000);
    let failure = bench.encode(&input, &quick(None), "out.mp4").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Capacity, "file_limit"), "{failure:?}");
    bench.limits.file_bytes = None;
    bench.limits.wall_ms = Some(1);
    let failure = bench.encode(&input, &quick(None), "out.mp4").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Capacity, "too_slow"), "{failure:?}");
}

#[tokio::test]
async fn a_damaged_source_loses_only_what_is_damaged() {
    let bench = Bench::new().await;
    bench.film("a.ts", "25", 4, &format!("{X264} -f mpegts"));
    let mut bytes = std::fs::read(bench.path("a.ts")).unwrap();
    let middle = bytes.len() / 2 / 188 * 188;
    bytes[middle..middle + 188 * 3].fill(0xff);
    bytes.truncate(bytes.len() / 188 * 188 - 188 * 20 + 77);
    std::fs::write(bench.path("hurt.ts"), bytes).unwrap();
    let input = bench.input("hurt.ts");
    for chunk in &bench.analyse(&input, 1_000).await.chunks {
        match bench.encode(&input, &quick(Some(chunk)), "out.mp4").await {
            Ok(encoded) => assert!(encoded.covers(chunk), "{encoded:?}"),
            Err(failure) => assert_eq!((failure.class, failure.code), (Class::Input, "damaged"), "{failure:?}"),
        }
    }
}
