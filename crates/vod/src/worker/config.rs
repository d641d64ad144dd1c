base::section! {
    /// What a worker may use of its machine.
    pub struct Config in "worker" {
        /// Name of the node: lost steps and cordons are counted by it. Empty: the machine's host name.
        name: String = "\"\"",
        /// What it does: `analyse`, `encode`, `package`, `transfer`.
        caps: Vec<String> = "[\"analyse\", \"encode\", \"package\", \"transfer\"]",
        /// Steps done at the same time; 0 is one for every two cores.
        slots: usize = "0",
        /// Folder for work in progress, emptied when the worker starts; a relative one is below `server.data_dir`.
        scratch: String = "\"work\"",
        /// No new step is taken while less than this share of the scratch folder's disk is free, in percent.
        disk_free_percent_min: u32 = "10",
        /// After the signal to stop, steps that end within this time are finished, in milliseconds; the others are given back.
        drain_ms: u64 = "20000",
        /// CPU time of one FFmpeg process, in seconds; 0 is no limit.
        cpu_seconds_max: u64 = "0",
        /// Address space of one FFmpeg process, in bytes; 0 is no limit.
        memory_bytes_max: u64 = "17179869184",
        /// The longest probe of a source, in milliseconds.
        probe_ms_max: u64 = "120000",
        /// The longest look through a source for its cuts and its loudness, in milliseconds.
        analyse_ms_max: u64 = "7200000",
        /// The longest encode of one chunk or one track, in milliseconds.
        encode_ms_max: u64 = "43200000",
        /// The longest other step that runs FFmpeg (check, poster, storyboard, subtitles), in milliseconds.
        other_ms_max: u64 = "3600000",
        /// FFmpeg is stopped when its position in the media does not move for this long, in milliseconds.
        stall_ms: u64 = "60000",
        /// Scheduling priority of FFmpeg, 0 to 19; above 0 live streams on the same machine come first.
        nice: i32 = "10",
    }
}

#[cfg(test)]
mod tests {
    use base::config::Section;

    use super::*;

    #[test]
    fn every_default_fits_its_type() {
        let config = Config::default();
        assert_eq!((config.disk_free_percent_min, config.stall_ms, Config::NAME), (10, 60_000, "worker"));
        assert!(Config::FIELDS.iter().all(|field| !field.doc.is_empty()));
    }
}
