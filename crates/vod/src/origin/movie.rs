//! `/vod/ASSET.mp4`.

use std::fmt::Write;

use store::catalogue::MediaKind;

use super::{
    answer::{Content, Failure, Source, mime},
    parameter,
    shelf::{self, Published, Shelf, Snapshot},
};

/// Longest file name that is suggested, in characters.
const FILE_NAME_CHARS_MAX: usize = 120;

pub(super) async fn content(shelf: &Shelf, snapshot: &Snapshot, query: &str) -> Result<Content, Failure> {
    let (first, second) = choose(snapshot, parameter(query, "rendition")).ok_or_else(|| snapshot.missing())?;
    let movie = shelf.movie(&first.row.index, second.map(|second| &second.row.index)).await?;
    let tag = second.map_or_else(|| first.token.clone(), |second| format!("{}{}", first.token, second.token));
    let keys = std::iter::once(first).chain(second).map(|published| shelf::key(&published.row.object));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let media_type = if first.row.kind == MediaKind::Audio { mime::MP4_AUDIO } else { mime::MP4_VIDEO };
    let bytes = movie.bytes;
    let content = Content::new(media_type, snapshot.keep(), tag, bytes, Source::Movie { movie, keys });
    match parameter(query, "download") {
        Some("1") => Ok(content.attachment(&disposition(&snapshot.asset.title))),
        _ => Ok(content),
    }
}

/// The rendition that was asked for, or the best that everything plays; pictures with the sound chosen by default.
fn choose<'a>(snapshot: &'a Snapshot, name: Option<&str>) -> Option<(&'a Published, Option<&'a Published>)> {
    let of = |kind| snapshot.renditions.iter().filter(move |published| published.row.kind == kind);
    let sound = || {
        of(MediaKind::Audio).max_by_key(|published| (published.row.codecs.starts_with("mp4a"), published.row.default))
    };
    match name {
        Some(name) => {
            let named = snapshot.rendition(name, None)?;
            match named.row.kind {
                MediaKind::Video => Some((named, sound())),
                MediaKind::Audio => Some((named, None)),
                MediaKind::Subtitle => None,
            }
        }
        None => {
            let plays = |published: &&Published| (published.row.codecs.starts_with("avc1"), published.row.bandwidth);
            let best = of(MediaKind::Video).max_by_key(plays);
            best.map(|best| (best, sound())).or_else(|| sound().map(|sound| (sound, None)))
        }
    }
}

/// `attachment` with the title as the file's name (RFC 6266 4.3, RFC 8187).
fn disposition(title: &str) -> String {
    let plain = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
    let name: String = title.trim().chars().take(FILE_NAME_CHARS_MAX).map(plain).collect();
    let name = if name.trim_matches(['.', '_', ' ']).is_empty() { "film" } else { &name };
    let name = name.strip_suffix(".mp4").unwrap_or(name);
    let ascii: String = name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    format!("attachment; filename=\"{ascii}.mp4\"; filename*=UTF-8''{encoded}.mp4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_become_file_names() {
        let check = |title: &str, ascii: &str, encoded: &str| {
            let want = format!("attachment; filename=\"{ascii}.mp4\"; filename*=UTF-8''{encoded}.mp4");
            assert_eq!(disposition(title), want);
        };
        check("Holiday 2026", "Holiday 2026", "Holiday%202026");
        check("Zoë.mp4", "Zo_", "Zo%C3%AB");
        check("../../etc/passwd\r\nX: y", ".._.._etc_passwd__X_ y", ".._.._etc_passwd__X_%20y");
        check("\"", "film", "film");
        check("", "film", "film");
    }
}
