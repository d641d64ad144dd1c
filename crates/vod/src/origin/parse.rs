//! Paths of the origin.

use store::catalogue::AssetId;

/// Longest rendition name or token, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// What is asked for of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Multivariant,
    Manifest,
    Movie,
    Playlist(String),
    IFrames(String),
    Media { name: String, token: String, media: Media },
    Text(String),
    Poster,
    Storyboard,
    Sheet(usize),
}

/// Media under a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Init,
    Segment(u64),
    Text,
}

/// The asset and the target of a path; `None` when nothing is ever served there.
pub(super) fn parse(path: &str) -> Option<(AssetId, Target)> {
    let rest = path.strip_prefix("/vod/")?;
    let Some((asset, rest)) = rest.split_once('/') else {
        return Some((rest.strip_suffix(".mp4")?.parse().ok()?, Target::Movie));
    };
    let parts: Vec<&str> = rest.splitn(4, '/').collect();
    let target = match parts[..] {
        [file] => file_target(file)?,
        [name, "index.m3u8"] => Target::Playlist(word(name)?),
        [name, "iframes.m3u8"] => Target::IFrames(word(name)?),
        [name, token, file] => Target::Media { name: word(name)?, token: word(token)?, media: media(file)? },
        _ => return None,
    };
    Some((asset.parse().ok()?, target))
}

fn file_target(file: &str) -> Option<Target> {
    match file {
        "index.m3u8" => Some(Target::Multivariant),
        "manifest.mpd" => Some(Target::Manifest),
        "poster.jpg" => Some(Target::Poster),
        "storyboard.vtt" => Some(Target::Storyboard),
        _ => match file.strip_prefix("storyboard-").and_then(|rest| rest.strip_suffix(".jpg")) {
            Some(number) => Some(Target::Sheet(usize::try_from(decimal(number)?).ok()?)),
            None => Some(Target::Text(word(file.strip_suffix(".vtt")?)?)),
        },
    }
}

fn media(file: &str) -> Option<Media> {
    match file {
        "init.mp4" => Some(Media::Init),
        "0.vtt" => Some(Media::Text),
        _ => Some(Media::Segment(decimal(file.strip_suffix(".m4s")?)?)),
    }
}

/// One way to write a number, so that one thing has one URL.
fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn word(text: &str) -> Option<String> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (plain && !text.is_empty() && text.len() <= NAME_BYTES_MAX).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let id = AssetId::new();
        let check = |rest: &str, want: Option<Target>| {
            assert_eq!(parse(&format!("/vod/{id}{rest}")), want.map(|target| (id.clone(), target)), "{rest}");
        };
        let media = |media| Target::Media { name: "v720".into(), token: "7f".into(), media };
        check("/index.m3u8", Some(Target::Multivariant));
        check("/manifest.mpd", Some(Target::Manifest));
        check(".mp4", Some(Target::Movie));
        check("/v720/index.m3u8", Some(Target::Playlist("v720".into())));
        check("/v720/iframes.m3u8", Some(Target::IFrames("v720".into())));
        check("/v720/7f/init.mp4", Some(media(Media::Init)));
        check("/v720/7f/12.m4s", Some(media(Media::Segment(12))));
        check("/v720/7f/0.vtt", Some(media(Media::Text)));
        check("/s0.vtt", Some(Target::Text("s0".into())));
        check("/storyboard-3.jpg", Some(Target::Sheet(3)));
        for none in ["", "/", "/v720/7f/012.m4s", "/v720/7f/+1.m4s", "/v720/../a/1.m4s", "/v720/7f/1.m4s/x", ".mp3"] {
            check(none, None);
        }
        assert_eq!(parse("/vod/elsewhere/index.m3u8"), None);
        assert_eq!(parse("/live/x/index.m3u8"), None);
    }
}
