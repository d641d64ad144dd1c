base::section! {
    /// The ladder: FFmpeg as a supervised child process that makes the smaller renditions of a stream.
    pub struct Config in "transcode" {
        /// The FFmpeg program: a name looked up in PATH, or a path.
        ffmpeg: String = "\"ffmpeg\"",
        /// The ladder preset: default, nott, alfg, or off for passthrough only.
        preset: String = "\"default\"",
        /// The H.264 encoder: libx264, or h264_nvenc, h264_vaapi, h264_qsv, h264_videotoolbox where FFmpeg and the machine have them.
        encoder: String = "\"libx264\"",
        /// The share of all cores that one stream's ladder may take by the cost estimate, in percent; rungs over it are left out.
        cpu_percent_max: u32 = "60",
        /// Scheduling priority of FFmpeg, 0 to 19; above 0 the server itself comes first.
        nice: u32 = "5",
        /// The child is stopped and started again when input flows and no output comes for this long, in milliseconds.
        stall_ms: u64 = "2000",
        /// The same for the first output of a child, which includes its start, in milliseconds.
        start_ms: u64 = "8000",
        /// A rung is shed when the ladder's speed stays below this percentage of real time.
        speed_min_percent: u32 = "95",
        /// How far behind the source the output must be before its speed counts, in milliseconds.
        shed_lag_ms: u64 = "1000",
        /// How long both must last before a rung is shed, in milliseconds.
        shed_after_ms: u64 = "4000",
        /// Input waiting for FFmpeg, in milliseconds of media time; beyond it the ladder skips to the next keyframe.
        queue_ms_max: u64 = "6000",
        /// Input waiting for FFmpeg, the newest GOP included, in bytes; beyond it the ladder skips to the next keyframe.
        queue_bytes_max: usize = "33554432",
        /// The first wait between restarts, after one at once, in milliseconds; each further one doubles it.
        restart_backoff_ms: u64 = "500",
        /// The longest wait between restarts, in milliseconds.
        restart_backoff_ms_max: u64 = "10000",
        /// Restarts in a row without any output after which the ladder gives up and the source plays alone.
        restarts_max: u32 = "8",
        /// Where the directory of the output sockets is made; a short path, as a socket's name is at most 100 bytes.
        socket_dir: String = "\"/tmp\"",
    }
}

#[cfg(test)]
mod tests {
    use base::config::Section;

    use super::*;

    #[test]
    fn every_default_fits_its_type() {
        let config = Config::default();
        assert_eq!((config.ffmpeg.as_str(), config.stall_ms, Config::NAME), ("ffmpeg", 2000, "transcode"));
        assert!(Config::FIELDS.iter().all(|field| !field.doc.is_empty()));
    }
}
