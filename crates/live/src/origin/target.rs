//! What a path asks for. Pure.

use base::StreamId;
use packager::TrackName;

/// Something this origin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/channels.json`
    Guide,
    /// `/time`
    Time,
    /// Something of one stream.
    Stream(Named, Object),
}

/// A stream, by its full name or by the part behind the slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Id(StreamId),
    /// `/hls/NAME.m3u8` as nginx-rtmp's users have it: whichever application it is published to.
    AnyApp(String),
}

/// Something of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// With what the playlist's relative URIs are to be prefixed.
    MultivariantPlaylist(String),
    TsMultivariantPlaylist,
    Manifest,
    /// The manifest's short name: its relative URLs need the long one.
    ManifestAlias(String),
    Thumbnail,
    MediaPlaylist(TrackName),
    TsMediaPlaylist(TrackName),
    Init(TrackName, u32),
    Segment(TrackName, u64),
    Part(TrackName, u64, u32),
    TsSegment(TrackName, u64),
}

/// The target of a path, without its query.
pub(super) fn parse(path: &str) -> Option<Target> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match *segments.as_slice() {
        ["channels.json"] => Some(Target::Guide),
        ["time"] => Some(Target::Time),
        [app, name, file] => stream(app, name, of_stream(file)?),
        [app, name, track, file] => stream(app, name, of_track(track.parse().ok()?, file)?),
        [app, file] => alias(app, file),
        _ => None,
    }
}

fn stream(app: &str, name: &str, object: Object) -> Option<Target> {
    Some(Target::Stream(Named::Id(StreamId::new(app, name).ok()?), object))
}

fn of_stream(file: &str) -> Option<Object> {
    match file {
        "index.m3u8" | "master.m3u8" => Some(Object::MultivariantPlaylist(String::new())),
        "ts.m3u8" => Some(Object::TsMultivariantPlaylist),
        "manifest.mpd" => Some(Object::Manifest),
        "thumb.jpg" => Some(Object::Thumbnail),
        _ => None,
    }
}

fn of_track(track: TrackName, file: &str) -> Option<Object> {
    match file {
        "index.m3u8" => return Some(Object::MediaPlaylist(track)),
        "ts.m3u8" => return Some(Object::TsMediaPlaylist(track)),
        _ => {}
    }
    if let Some(id) = file.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
        return Some(Object::Init(track, number(id)?));
    }
    if let Some(msn) = file.strip_suffix(".ts") {
        return Some(Object::TsSegment(track, number(msn)?));
    }
    let stem = file.strip_suffix(".m4s")?;
    match stem.split_once('.') {
        None => Some(Object::Segment(track, number(stem)?)),
        Some((msn, part)) => Some(Object::Part(track, number(msn)?, number(part)?)),
    }
}

/// A decimal number as this origin writes it, so that every object has one name.
fn number<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

/// `/APP/NAME.m3u8`, `/APP/NAME.mpd`, and `/hls/NAME.m3u8`, `/dash/NAME.mpd` for a stream of any application.
fn alias(app: &str, file: &str) -> Option<Target> {
    let (name, extension) = file.rsplit_once('.')?;
    let any_app = matches!((app, extension), ("hls", "m3u8") | ("dash", "mpd"));
    let named = match any_app {
        true => Named::AnyApp(StreamId::new(app, name).ok()?.name().to_owned()),
        false => Named::Id(StreamId::new(app, name).ok()?),
    };
    let object = match extension {
        "m3u8" => Object::MultivariantPlaylist(format!("{name}/")),
        "mpd" => Object::ManifestAlias(format!("{name}/")),
        _ => return None,
    };
    Some(Target::Stream(named, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<Object>) {
        let got = parse(path).map(|target| match target {
            Target::Stream(_, object) => object,
            other => panic!("{path}: {other:?}"),
        });
        assert_eq!(got, expected, "{path}");
    }

    #[test]
    fn every_object_has_its_path() {
        let v0 = TrackName::source_video;
        check("/live/a/index.m3u8", Some(Object::MultivariantPlaylist(String::new())));
        check("/live/a.m3u8", Some(Object::MultivariantPlaylist("a/".into())));
        check("/live/a/manifest.mpd", Some(Object::Manifest));
        check("/live/a.mpd", Some(Object::ManifestAlias("a/".into())));
        check("/live/a/ts.m3u8", Some(Object::TsMultivariantPlaylist));
        check("/live/a/v0/index.m3u8", Some(Object::MediaPlaylist(v0())));
        check("/live/a/v0/ts.m3u8", Some(Object::TsMediaPlaylist(v0())));
        check("/live/a/v0/init-3.mp4", Some(Object::Init(v0(), 3)));
        check("/live/a/v0/17.m4s", Some(Object::Segment(v0(), 17)));
        check("/live/a/v0/17.4.m4s", Some(Object::Part(v0(), 17, 4)));
        check("/live/a/v0/17.ts", Some(Object::TsSegment(v0(), 17)));
        assert_eq!(parse("/channels.json"), Some(Target::Guide));
        assert_eq!(parse("/time"), Some(Target::Time));
    }

    #[test]
    fn nothing_else_has_a_path() {
        for path in [
            "",
            "/",
            "live/a/index.m3u8",
            "/live/a",
            "/live/a/",
            "/live/../index.m3u8",
            "/live/a/v0/",
            "/live/a/v0/017.m4s",
            "/live/a/v0/+1.m4s",
            "/live/a/v0/1.2.3.m4s",
            "/live/a/v0/-1.ts",
            "/live/a/v0/99999999999999999999.ts",
            "/live/a/V0/1.ts",
            "/live/a/v0/init-x.mp4",
            "/live/a/b/c/index.m3u8",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn hls_names_a_stream_of_any_application() {
        let check = |path: &str, named: Named| {
            assert!(matches!(parse(path), Some(Target::Stream(got, _)) if got == named), "{path}")
        };
        check("/hls/colorbar.m3u8", Named::AnyApp("colorbar".into()));
        check("/encoder/colorbar.m3u8", Named::Id("encoder/colorbar".parse().unwrap()));
        check("/hls/colorbar/index.m3u8", Named::Id("hls/colorbar".parse().unwrap()));
    }
}
