//! Three times that must not be mixed: media time (integer ticks with a [`Timescale`]), monotonic time ([`Mono`])
//! and wall time ([`Wall`]).

use std::{
    fmt,
    num::NonZeroU32,
    ops::{Add, Sub},
    time::Duration,
};

/// Ticks per second of a track's media time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timescale(NonZeroU32);

impl Timescale {
    /// RTMP and FLV: milliseconds.
    pub const MS: Self = Self::hz(1_000);
    /// MPEG-TS, and the video tracks of this platform: 90 kHz.
    pub const VIDEO: Self = Self::hz(90_000);

    /// # Panics
    /// When `ticks_per_second` is zero; bytes from a peer go through [`Timescale::new`].
    pub const fn hz(ticks_per_second: u32) -> Self {
        Self(NonZeroU32::new(ticks_per_second).expect("a timescale is not zero"))
    }

    /// The checked form of [`Timescale::hz`] for values from a peer: `None` for zero.
    pub fn new(ticks_per_second: u32) -> Option<Self> {
        NonZeroU32::new(ticks_per_second).map(Self)
    }

    /// Ticks per second.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Ticks of this timescale in `ms` milliseconds, rounded down.
    pub fn from_ms(self, ms: i64) -> i64 {
        rescale(ms, Self::MS, self)
    }

    /// Milliseconds in `ticks`, rounded down.
    pub fn to_ms(self, ticks: i64) -> i64 {
        rescale(ticks, self, Self::MS)
    }

    /// `ticks` as microseconds, rounded down.
    pub fn to_us(self, ticks: i64) -> i64 {
        rescale(ticks, self, Self::hz(1_000_000))
    }

    /// `ticks` in seconds, for text that people and playlists read; never for arithmetic.
    pub fn display_seconds(self, ticks: i64) -> f64 {
        ticks as f64 / f64::from(self.get())
    }
}

/// Converts `ticks` from one timescale to another, rounding towards negative infinity, without overflow on the way.
pub fn rescale(ticks: i64, from: Timescale, to: Timescale) -> i64 {
    if from == to {
        return ticks;
    }
    let scaled = i128::from(ticks) * i128::from(to.get());
    scaled.div_euclid(i128::from(from.get())) as i64
}

/// Like [`rescale`], rounding to the nearest tick; for a boundary decided in one track and looked up in another.
pub fn rescale_nearest(ticks: i64, from: Timescale, to: Timescale) -> i64 {
    let half = i128::from(from.get()) / 2;
    (i128::from(ticks) * i128::from(to.get()) + half).div_euclid(i128::from(from.get())) as i64
}

/// Monotonic time: the time since an arbitrary origin of the process. Only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(Duration);

impl Mono {
    /// The origin.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// A point `since_origin` after the origin.
    pub const fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// Time since the origin.
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub for Mono {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

/// Wall time: milliseconds since 1970-01-01T00:00:00Z, without leap seconds; as that number in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Wall(i64);

impl Wall {
    /// From milliseconds since the UNIX epoch.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the UNIX epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// `self` moved by `ms` milliseconds (either way).
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-20T09:00:00.000Z`, the form of EXT-X-PROGRAM-DATE-TIME and xs:dateTime.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.div_euclid(86_400_000);
        let ms = self.0.rem_euclid(86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1_000)
    }
}

/// Proleptic Gregorian date of a day number since 1970-01-01 (the well-known era algorithm: 400 years are 146,097 days).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_rounds_down_on_both_sides_of_zero() {
        assert_eq!(rescale(1, Timescale::MS, Timescale::VIDEO), 90);
        assert_eq!(rescale(89, Timescale::VIDEO, Timescale::MS), 0);
        assert_eq!(rescale(-1, Timescale::VIDEO, Timescale::MS), -1);
        assert_eq!(rescale(i64::from(u32::MAX) * 1_000, Timescale::MS, Timescale::VIDEO), 386_547_056_550_000);
    }

    #[test]
    fn wall_time_prints_as_rfc_3339() {
        let check = |ms: i64, text: &str| assert_eq!(Wall::from_unix_ms(ms).to_string(), text);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_795_165_200_123, "2026-11-20T09:00:00.123Z");
        check(-1, "1969-12-31T23:59:59.999Z");
    }
}
