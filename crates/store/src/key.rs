use std::fmt;

use object_store::path::Path;

use crate::Error;

/// Longest key, in bytes: the shortest of what buckets and file systems allow.
pub const KEY_BYTES_MAX: usize = 1_000;
/// Longest segment, in bytes: file systems take 255, and a file being written has a longer name.
const SEGMENT_BYTES_MAX: usize = 240;

/// An object's name: segments of `A-Z a-z 0-9 - _ . ~ + @ =` joined by `/`, none empty and none beginning with a dot, so that a
/// key never climbs and means the same on every backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Path);

impl Key {
    /// # Errors
    /// When the text cannot name an object.
    pub fn new(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Key { text: text.chars().take(100).collect() };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.~+@=".contains(&b);
        let segment = |segment: &str| {
            let fits = (1..=SEGMENT_BYTES_MAX).contains(&segment.len());
            fits && !segment.starts_with('.') && segment.bytes().all(allowed)
        };
        if text.len() > KEY_BYTES_MAX || !text.split('/').all(segment) {
            return Err(invalid());
        }
        // `parse` keeps the text as it is; `from` would encode `~`.
        Path::parse(text).map(Self).map_err(|_| invalid())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_climbs() {
        let check = |text: &str, ok: bool| assert_eq!(Key::new(text).is_ok(), ok, "{text:?}");
        check("live/encoder/colorbar@60/1/v0/17.m4s", true);
        check("a~b", true);
        check("", false);
        check("/a", false);
        check("a//b", false);
        check("a/../b", false);
        check("a/.hidden", false);
        check("a\\b", false);
        check("a b", false);
        check("a%2fb", false);
        check(&"a".repeat(SEGMENT_BYTES_MAX), true);
        check(&"a".repeat(SEGMENT_BYTES_MAX + 1), false);
        check(&"a/".repeat(KEY_BYTES_MAX / 2), false);
        check(&["a"; KEY_BYTES_MAX / 2].join("/"), true);
        check(&["a"; KEY_BYTES_MAX].join("/"), false);
    }
}
