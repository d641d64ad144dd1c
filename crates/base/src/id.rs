//! The names of things.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

/// Longest application or stream name, in bytes: a name becomes a path segment and a metric label.
pub const NAME_BYTES_MAX: usize = 128;

/// A stream's public name, `APP/NAME`, as in `rtmp://HOST/APP/NAME` and `http://HOST/APP/NAME/index.m3u8`.
///
/// Both parts are 1 to [`NAME_BYTES_MAX`] bytes of `A-Z a-z 0-9 - _ . ~ + @`, and do not begin with a dot, so that a
/// name is one URL path segment and one file name everywhere, and never climbs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    text: Arc<str>,
    slash: usize,
}

/// A text that is not a [`StreamId`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidStreamId {
    /// No `/`, or more than one.
    #[error("a stream is named APP/NAME; got {0:?}")]
    Shape(String),
    /// An empty part, one over the limit, one that begins with a dot, or one with another character.
    #[error(
        "{0:?} cannot be part of a stream's name: use 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 - _ . ~ + @, not a dot first"
    )]
    Part(String),
}

impl StreamId {
    /// # Errors
    /// When a part is not allowed; the error says which.
    pub fn new(app: &str, name: &str) -> Result<Self, InvalidStreamId> {
        for part in [app, name] {
            if !is_name(part) {
                return Err(InvalidStreamId::Part(part.chars().take(NAME_BYTES_MAX).collect()));
            }
        }
        Ok(Self { text: format!("{app}/{name}").into(), slash: app.len() })
    }

    /// The application: the part before the slash.
    pub fn app(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The stream's name within its application.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// `APP/NAME`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn is_name(part: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.~+@".contains(&b);
    (1..=NAME_BYTES_MAX).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(allowed)
}

impl FromStr for StreamId {
    type Err = InvalidStreamId;
    fn from_str(text: &str) -> Result<Self, InvalidStreamId> {
        match text.split_once('/') {
            Some((app, name)) if !name.contains('/') => Self::new(app, name),
            _ => Err(InvalidStreamId::Shape(text.chars().take(2 * NAME_BYTES_MAX).collect())),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_path_segment_each() {
        let check = |text: &str, ok: bool| assert_eq!(text.parse::<StreamId>().is_ok(), ok, "{text:?}");
        check("live/stream", true);
        check("encoder/colorbar_720p@60", true);
        check("live", false);
        check("live/a/b", false);
        check("live/", false);
        check("/live", false);
        check("live/..", false);
        check("live/.hidden", false);
        check("live/a b", false);
        check("live/%2e%2e", false);
        check(&format!("live/{}", "x".repeat(NAME_BYTES_MAX + 1)), false);
    }
}
