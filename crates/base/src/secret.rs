//! Texts that must not reach a log, a URL or an answer.

use std::fmt;

use serde::Deserialize;

/// A stream key, token or password. Its `Debug` and `Display` are redacted; comparing takes the same time wherever the
/// difference is.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `candidate` is the secret; the time taken depends on the lengths alone.
    pub fn matches(&self, candidate: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), candidate.as_bytes());
        let differing = a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y));
        a.len() == b.len() && std::hint::black_box(differing) == 0
    }

    /// The text itself, for the one place that must hand it on.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let key = Secret::new("hunter2");
        assert_eq!(format!("{key:?} {key}"), "Secret(redacted) redacted");
        assert!(key.matches("hunter2") && !key.matches("hunter") && !key.matches("hunter3"));
    }
}
