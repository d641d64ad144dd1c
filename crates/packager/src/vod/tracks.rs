//! What a presentation is made of.

use std::fmt;

use super::TrackIndex;
use media::TrackKind;

/// A rendition: a track and what its listing says of it.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'a> {
    /// Its name in URLs, one path segment: `v720`, `a0`. Its playlists are `NAME/index.m3u8` and `NAME/iframes.m3u8`.
    pub name: &'a str,
    /// Where its segments are, below its playlists: empty, or a path that ends with a slash.
    pub folder: &'a str,
    /// The track.
    pub index: &'a TrackIndex,
    /// BCP 47 tag.
    pub language: Option<&'a str>,
    /// Label for people.
    pub label: Option<&'a str>,
    /// Chosen when the viewer chose nothing.
    pub default: bool,
}

/// A text track: its playlist is `NAME/index.m3u8`, the whole of it `NAME.vtt`.
#[derive(Clone, Copy, Debug)]
pub struct TextTrack<'a> {
    /// Its name in URLs, one path segment: `s0`.
    pub name: &'a str,
    /// BCP 47 tag.
    pub language: Option<&'a str>,
    /// Label for people.
    pub label: Option<&'a str>,
    /// Chosen when the viewer chose nothing.
    pub default: bool,
}

/// Sheets of small pictures: `storyboard-N.jpg`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// Time between two pictures, in milliseconds.
    pub interval_ms: u32,
    /// Pictures beside each other in a sheet.
    pub columns: u32,
    /// Pictures below each other in a sheet.
    pub rows: u32,
    /// Width of one, in pixels.
    pub width: u32,
    /// Height of one, in pixels.
    pub height: u32,
    /// Mean bytes of a sheet.
    pub sheet_bytes: u64,
}

/// What is published of an asset at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Presentation<'a> {
    /// Pictures and sound.
    pub variants: &'a [Variant<'a>],
    /// Text.
    pub texts: &'a [TextTrack<'a>],
    /// Thumbnails.
    pub images: Option<Images>,
}

impl<'a> Presentation<'a> {
    pub(super) fn of(&self, kind: TrackKind) -> impl Iterator<Item = &'a Variant<'a>> + use<'a> {
        self.variants.iter().filter(move |variant| variant.index.kind == kind)
    }

    /// The longest track, in milliseconds.
    pub fn duration_ms(&self) -> i64 {
        self.variants.iter().map(|variant| variant.index.duration_ms()).max().unwrap_or(0)
    }
}

impl Variant<'_> {
    /// The codec without its profile: `avc1`, `mp4a`.
    pub(super) fn family(&self) -> &str {
        self.index.codecs.split('.').next().unwrap_or(&self.index.codecs)
    }
}

/// A text in a quoted-string (RFC 8216bis 4.2): without line breaks and quotation marks.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().filter(|c| !c.is_control()).try_for_each(|c| write!(f, "{}", if c == '"' { '\'' } else { c }))
    }
}
