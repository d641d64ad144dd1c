use std::ops::RangeInclusive;

use thiserror::Error;

base::section! {
    /// Video on demand: what may be uploaded, and how much of it.
    pub struct Config in "vod" {
        /// Largest file, in bytes.
        upload_bytes_max: u64 = "549755813888",
        /// How long an unfinished upload waits for more bytes before it is given up, in milliseconds (60,000 to 31,536,000,000).
        upload_expire_ms: u64 = "259200000",
        /// Unfinished uploads of one tenant at a time.
        uploads_open_max: u64 = "1000",
        /// Uploads whose bytes come in at the same time, on this node; each takes up to 24 MiB of memory.
        uploads_receiving_max: u32 = "64",
        /// Assets of one tenant; 0 is no limit.
        assets_max: u64 = "0",
        /// Bytes of one tenant, sources and renditions together; 0 is no limit.
        bytes_max: u64 = "0",
        /// Longest source, in hours.
        source_hours_max: u64 = "25",
        /// Sources, notices and webhooks may be at addresses of private networks. Off, they are refused: a user could make the
        /// platform ask machines that only it can reach.
        private_addresses: bool = "false",
        /// Folders whose files become assets once they stop growing; they are then moved to the folder done or failed in it.
        watch_dirs: Vec<String> = "[]",
        /// The recipe of files from watched folders.
        watch_recipe: String = "\"default\"",
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("vod.{key} = {value} is out of its range; choose {} to {}", range.start(), range.end())]
pub struct OutOfRange {
    /// The setting.
    pub key: &'static str,
    /// As configured.
    pub value: u64,
    /// The lowest and the highest value.
    pub range: RangeInclusive<u64>,
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first setting that is out of its range, with the range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        const YEAR_MS: u64 = 31_536_000_000;
        let settings: [(&str, u64, RangeInclusive<u64>); 4] = [
            ("upload_bytes_max", self.upload_bytes_max, 1..=i64::MAX.unsigned_abs()),
            ("upload_expire_ms", self.upload_expire_ms, 60_000..=YEAR_MS),
            ("uploads_open_max", self.uploads_open_max, 1..=u64::MAX),
            ("uploads_receiving_max", self.uploads_receiving_max.into(), 1..=10_000),
        ];
        match settings.into_iter().find(|(_, value, range)| !range.contains(value)) {
            Some((key, value, range)) => Err(OutOfRange { key, value, range }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        let check = |change: fn(&mut Config), expected: Option<&str>| {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.check().err().map(|error| error.key), expected);
        };
        check(|_| {}, None);
        check(|config| config.upload_bytes_max = 0, Some("upload_bytes_max"));
        check(|config| config.upload_expire_ms = 59_999, Some("upload_expire_ms"));
        check(|config| config.uploads_receiving_max = 0, Some("uploads_receiving_max"));
        check(|config| (config.assets_max, config.bytes_max) = (0, 0), None);
    }
}
