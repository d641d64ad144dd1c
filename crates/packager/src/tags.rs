//! Values and attribute lists that live and on-demand playlists write alike.

use std::fmt;

use base::{Timescale, time::rescale_nearest};

/// Ticks as seconds with five decimals, rounded to the nearest, by integers alone.
pub(crate) struct Seconds(pub(crate) i64, pub(crate) Timescale);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = rescale_nearest(self.0.max(0), self.1, Timescale::hz(100_000));
        write!(f, "{}.{:05}", units / 100_000, units % 100_000)
    }
}

/// Milliseconds as seconds with three decimals.
pub(crate) struct Millis(pub(crate) i64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// The attributes of EXT-X-STREAM-INF (RFC 8216bis 4.4.6.2).
pub(crate) struct StreamInf<'a> {
    /// BANDWIDTH.
    pub(crate) peak: u64,
    /// AVERAGE-BANDWIDTH.
    pub(crate) mean: u64,
    pub(crate) codecs: Vec<String>,
    pub(crate) resolution: Option<(u32, u32)>,
    pub(crate) frame_rate: Option<f64>,
    /// GROUP-IDs.
    pub(crate) audio: Option<&'a str>,
    pub(crate) subtitles: Option<&'a str>,
}

impl fmt::Display for StreamInf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codecs = self.codecs.join(",");
        write!(f, "BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{codecs}\"", self.peak, self.mean)?;
        if let Some((width, height)) = self.resolution {
            write!(f, ",RESOLUTION={width}x{height}")?;
        }
        if let Some(frame_rate) = self.frame_rate {
            write!(f, ",FRAME-RATE={frame_rate:.3}")?;
        }
        if let Some(group) = self.audio {
            write!(f, ",AUDIO=\"{group}\"")?;
        }
        if let Some(group) = self.subtitles {
            write!(f, ",SUBTITLES=\"{group}\"")?;
        }
        Ok(())
    }
}

/// Each text once, in the order of its first.
pub(crate) fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut distinct = Vec::new();
    for text in texts {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_print_with_five_decimals() {
        let check = |ticks: i64, timescale: u32, text: &str| {
            assert_eq!(Seconds(ticks, Timescale::hz(timescale)).to_string(), text);
        };
        check(180_000, 90_000, "2.00000");
        check(9 * 1024, 48_000, "0.19200");
        check(9 * 1024, 44_100, "0.20898");
        check(-1, 90_000, "0.00000");
    }
}
