use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

/// Longest track name, in bytes: it is a path segment of every URL.
pub const TRACK_NAME_BYTES_MAX: usize = 16;

/// A track's place in the stream and in its URLs: `v0` the source video, `v1`, `v2`... its renditions, `a0` the audio.
///
/// 1 to [`TRACK_NAME_BYTES_MAX`] bytes of `a-z 0-9`, a letter first: one URL path segment that never climbs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackName(Arc<str>);

/// A text that is not a [`TrackName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no track name: use 1 to {TRACK_NAME_BYTES_MAX} of a-z 0-9, a letter first")]
pub struct InvalidTrackName(String);

impl TrackName {
    /// # Errors
    /// When the text is not allowed.
    pub fn new(text: &str) -> Result<Self, InvalidTrackName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let letter_first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if letter_first && text.len() <= TRACK_NAME_BYTES_MAX && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTrackName(text.chars().take(2 * TRACK_NAME_BYTES_MAX).collect()))
        }
    }

    /// The source's picture track, `v0`.
    pub fn source_video() -> Self {
        Self("v0".into())
    }

    /// The source's sound track, `a0`.
    pub fn source_audio() -> Self {
        Self("a0".into())
    }

    /// The name as it stands in URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrackName {
    type Err = InvalidTrackName;
    fn from_str(text: &str) -> Result<Self, InvalidTrackName> {
        Self::new(text)
    }
}

impl fmt::Display for TrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a track is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Decides the segment boundaries of the whole stream: the source's video, or its audio when there is no video.
    Leader,
    /// A video rendition made from the leader, with the leader's presentation times.
    Rendition,
    /// The source's audio beside a video leader.
    Audio,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_name_is_one_plain_path_segment() {
        let check = |text: &str, ok: bool| assert_eq!(TrackName::new(text).is_ok(), ok, "{text:?}");
        check("v0", true);
        check("a0", true);
        check("v12", true);
        check("", false);
        check("0v", false);
        check("..", false);
        check("v/0", false);
        check("V0", false);
        check("v0123456789abcdef", false);
    }
}
