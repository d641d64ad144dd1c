//! What sources are: every container, and what is wrong with those that cannot be used.

use transcode::vod::{Class, TrackKind};

use crate::vod_support::{Bench, decoded_pts, digest};

const X264: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 2 -c:a aac";

#[tokio::test]
async fn every_container_is_probed_and_its_pictures_counted_exactly() {
    let bench = Bench::new().await;
    let mpeg2 = "-c:v mpeg2video -g 12 -bf 2";
    let containers = [
        ("a.mts", format!("{X264} -f mpegts"), 25),
        ("a.mov", X264.to_owned(), 25),
        ("a.mxf", format!("{mpeg2} -c:a pcm_s16le -ar 48000"), 25),
        ("a.mkv", X264.to_owned(), 25),
        ("a.avi", "-c:v mpeg4 -bf 2 -c:a mp3 -b:a 64k".to_owned(), 25),
        ("a.mp4", X264.to_owned(), 25),
        ("a.mpg", format!("{mpeg2} -c:a mp2"), 25),
        ("a.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus".to_owned(), 30),
    ];
    for (name, options, rate) in containers {
        let input = bench.film(name, &rate.to_string(), 2, &options);
        let probe = bench.probe(&input).await.unwrap_or_else(|failure| panic!("{name}: {failure:?}"));
        let video = probe.video().unwrap().video.clone().unwrap();
        assert_eq!((video.width, video.height), (160, 90), "{name}");
        assert_eq!(probe.of_kind(TrackKind::Audio).count(), 1, "{name}");
        let analysis = bench.analyse(&input, 1_000).await;
        if name == "a.avi" {
            // It has no presentation times: each decoder makes up its own.
            assert_eq!(analysis.frames, 50);
            continue;
        }
        let mut expected = decoded_pts(&bench.path(name));
        let lift = analysis.first_pts - expected[0];
        assert_eq!(lift % 90_000, 0, "{name}");
        expected.iter_mut().for_each(|pts| *pts += lift);
        assert_eq!(analysis.frames, expected.len() as u64, "{name}");
        let mut rest = expected.as_slice();
        for chunk in &analysis.chunks {
            let (of_chunk, behind) = rest.split_at(chunk.frames as usize);
            assert_eq!(chunk.digest, digest(of_chunk), "{name} {}", chunk.index);
            rest = behind;
        }
    }
}

#[tokio::test]
async fn gxf_is_read_and_its_size_is_as_shown() {
    let bench = Bench::new().await;
    let source = "-f lavfi -i testsrc2=size=720x576:rate=25 -t 0.6 -pix_fmt yuv420p -c:v mpeg2video -g 12 -b:v 4M";
    let input = bench.make("a.gxf", source);
    let probe = bench.probe(&input).await.unwrap();
    assert_eq!(probe.container, "gxf");
    let analysis = bench.analyse(&input, 10_000).await;
    assert!(analysis.frames >= 14 && analysis.chunks.len() == 1, "{analysis:?}");
}

#[tokio::test]
async fn shapes_are_told_as_shown() {
    let bench = Bench::new().await;
    let still = "-f lavfi -i testsrc2=size=162x90:rate=25 -frames:v 1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    let one = bench.make("one.mp4", still);
    bench.make("turned.mp4", "-i one.mp4 -c copy -metadata:s:v:0 rotate=90");
    bench.make("wide.mp4", &format!("{still} -vf setsar=4/3"));
    bench.make("odd.mkv", "-f lavfi -i testsrc2=size=161x91:rate=25 -frames:v 3 -c:v ffv1");
    let check = async |name: &str, size: (u32, u32), rotation: i32| {
        let probe = bench.probe(&bench.input(name)).await.unwrap();
        let video = probe.video().unwrap().video.clone().unwrap();
        assert_eq!((video.width, video.height, video.rotation.rem_euclid(180)), (size.0, size.1, rotation), "{name}");
    };
    check("one.mp4", (162, 90), 0).await;
    check("turned.mp4", (90, 162), 90).await;
    check("wide.mp4", (216, 90), 0).await;
    check("odd.mkv", (160, 90), 0).await;
    let analysis = bench.analyse(&one, 10_000).await;
    assert_eq!((analysis.frames, analysis.chunks.len()), (1, 1));
    assert!(analysis.end_pts > analysis.first_pts);
}

#[tokio::test]
async fn sound_alone_and_tracks_beside_are_told() {
    let bench = Bench::new().await;
    let tone = "-f lavfi -i sine=sample_rate=44100 -t 1";
    let sound = bench.make("a.mp3", &format!("{tone} -c:a mp3"));
    let probe = bench.probe(&sound).await.unwrap();
    assert!(probe.video().is_none());
    assert_eq!(probe.audio().unwrap().audio.as_ref().unwrap().sample_rate, 44_100);
    std::fs::write(bench.path("s.srt"), "1\n00:00:00,200 --> 00:00:00,900\nHello\n\n").unwrap();
    bench.make("cover.png", "-f lavfi -i color=size=64x64 -frames:v 1");
    let tracks = "-i s.srt -i a.mp3 -i a.mp3 -map 1:a -map 2:a -map 0:s -c:a aac -c:s srt";
    let more =
        "-metadata:s:a:0 language=eng -metadata:s:a:1 language=fra -disposition:a:1 default -disposition:s:0 forced";
    let film = bench.make("a.mkv", &format!("{tracks} {more} -attach cover.png -metadata:s:t mimetype=image/png"));
    let probe = bench.probe(&film).await.unwrap();
    let kinds: Vec<_> = probe.of_kind(TrackKind::Audio).map(|track| track.language.as_deref()).collect();
    assert_eq!(kinds, [Some("eng"), Some("fra")]);
    assert!(probe.video().is_none(), "cover art is no video: {probe:?}");
    let text = probe.of_kind(TrackKind::Subtitle).next().unwrap();
    assert!(text.text && text.forced);
}

#[tokio::test]
async fn what_cannot_be_used_is_said_in_plain_words() {
    let bench = Bench::new().await;
    bench.film("a.mp4", "25", 1, X264);
    let whole = std::fs::read(bench.path("a.mp4")).unwrap();
    bench.make(
        "encrypted.mp4",
        "-i a.mp4 -c copy -encryption_scheme cenc-aes-ctr -encryption_key 76a6c65c5ea762046bd749a2e632ccbb \
         -encryption_kid a7e61c373e219033c21091fa607bf3b8",
    );
    std::fs::write(bench.path("s.srt"), "1\n00:00:00,200 --> 00:00:00,900\nHello\n\n").unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(bench.path(name), bytes).unwrap();
    write("empty.mp4", b"");
    write("noise.mp4", &whole.iter().map(|byte| byte ^ 0x5a).collect::<Vec<_>>());
    write("text.txt", b"Dear reader, this is no film.\n");
    write("cut.mp4", &whole[..whole.len() / 2]);
    let check = async |name: &str, codes: &[&str]| {
        let failure = bench.probe(&bench.input(name)).await.unwrap_err();
        assert_eq!(failure.class, Class::Input, "{name}: {failure:?}");
        assert!(codes.contains(&failure.code), "{name}: {failure:?}");
        assert!(failure.human.ends_with('.') && !failure.human.contains("0x"), "{failure:?}");
    };
    check("empty.mp4", &["empty"]).await;
    check("noise.mp4", &["not_media", "truncated"]).await;
    check("text.txt", &["not_media"]).await;
    check("cut.mp4", &["truncated"]).await;
    check("encrypted.mp4", &["encrypted"]).await;
    check("s.srt", &["no_tracks"]).await;
}

#[tokio::test]
async fn a_playlist_in_disguise_reaches_nothing() {
    let bench = Bench::new().await;
    bench.film("secret.ts", "25", 1, &format!("{X264} -f mpegts"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let secret = bench.path("secret.ts").display().to_string();
    let target = format!("http://{}/x.ts", listener.local_addr().unwrap());
    let head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n";
    let disguises = [
        ("file.mp4", format!("{head}{secret}\n#EXT-X-ENDLIST\n")),
        ("host.mp4", format!("{head}{target}\n#EXT-X-ENDLIST\n")),
        ("concat.mp4", format!("ffconcat version 1.0\nfile '{secret}'\n")),
        ("sdp.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n".into()),
        ("mpd.mp4", format!("<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT1S\"><Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1\"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>")),
    ];
    for (name, text) in disguises {
        std::fs::write(bench.path(name), text).unwrap();
        let failure = bench.probe(&bench.input(name)).await.unwrap_err();
        assert_eq!(failure.class, Class::Input, "{name}: {failure:?}");
        assert!(["not_media", "truncated"].contains(&failure.code), "{name}: {failure:?}");
    }
    assert!(listener.accept().is_err(), "nobody has called");
}

#[tokio::test]
async fn a_day_is_scanned_in_little_memory() {
    let bench = Bench::new().await;
    let day = "-f lavfi -i color=size=16x16:rate=1/2 -t 86400 -c:v libx264 -preset ultrafast -tune zerolatency -g 30";
    let input = bench.make("day.mp4", day);
    let analysis = bench.analyse(&input, 10_000).await;
    assert_eq!(analysis.frames, 43_200);
    assert_eq!(analysis.end_pts - analysis.first_pts, 86_400 * 90_000);
    assert!(analysis.chunks.len() <= transcode::vod::CHUNKS_MAX, "{}", analysis.chunks.len());
    assert_eq!(analysis.chunks.iter().map(|chunk| chunk.frames).sum::<u64>(), 43_200);
}

#[tokio::test]
async fn a_variable_frame_rate_is_noticed() {
    let bench = Bench::new().await;
    let input = bench.film("vfr.mkv", "50", 2, &format!("-vf select='not(mod(n,3))+lt(n,30)' -vsync vfr {X264}"));
    let analysis = bench.analyse(&input, 10_000).await;
    assert!(analysis.variable_frame_rate);
    assert_eq!(analysis.frames, decoded_pts(&bench.path("vfr.mkv")).len() as u64);
    assert!(!bench.analyse(&bench.film("cfr.mkv", "30", 1, X264), 10_000).await.variable_frame_rate);
}
