//! Files, disk, clock and cores.

use std::{
    fs, io,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::{Settings, settings};

/// Open files for the connections the platform is tested with: 10,000 silent ones beside the viewers.
const OPEN_FILES_WANTED: u64 = 20_000;
/// Free space below which recording and logs are in danger: an hour of one 5 Mbit/s stream.
const FREE_BYTES_WANTED: u64 = 2_250_000_000;
/// A clock before 2026-01-01 was never set: this program is younger.
const CLOCK_MIN_S: u64 = 1_767_225_600;
/// Pixels per second that one core encodes with x264 `veryfast`, with decoding and scaling, on a small server.
/// Measured on one core of a 2-core cloud machine: 100 million with a simple picture; rich pictures cost more.
const PIXELS_PER_CORE_SECOND: u64 = 60_000_000;
/// Rungs of the default ladder for the estimate, largest first: name, pixels per second.
const RUNGS: &[(&str, u64)] = &[
    ("1080p30", 1920 * 1080 * 30),
    ("720p30", 1280 * 720 * 30),
    ("480p30", 854 * 480 * 30),
    ("360p30", 640 * 360 * 30),
    ("240p30", 426 * 240 * 30),
];

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut findings = vec![of_config(settings), of_open_files(getrlimit(Resource::Nofile).maximum)];
    findings.extend(of_data_dir(&settings.server.data_dir));
    findings.push(of_clock(SystemTime::now(), ntp_synchronised()));
    findings.push(of_cores(cores));
    findings
}

fn of_config(_: &Settings) -> Finding {
    // The settings were resolved before the examination began; a wrong one ended it.
    let count: usize = settings::SECTIONS.iter().map(|section| section.fields.len()).sum();
    Finding::ok("settings", format!("usable ({count} settings; headwater config check shows what differs)"))
}

/// The server raises its own soft limit to the hard one, hence the hard one counts.
fn of_open_files(hard: Option<u64>) -> Finding {
    match hard {
        Some(limit) if limit < OPEN_FILES_WANTED => Finding::warn(
            "open files",
            format!("at most {limit} connections and files"),
            format!("raise the hard limit (ulimit -Hn {OPEN_FILES_WANTED}, or LimitNOFILE= in the systemd unit)"),
        ),
        Some(limit) => Finding::ok("open files", format!("up to {limit}")),
        None => Finding::ok("open files", "no limit"),
    }
}

fn of_data_dir(folder: &Path) -> Vec<Finding> {
    let shown = folder.display();
    if let Err(error) = try_writing(folder) {
        let remedy = "give this user the folder (chown), or name another with --data-dir DIR";
        return vec![Finding::fix("data folder", format!("{shown} cannot be written: {error}"), remedy)];
    }
    vec![Finding::ok("data folder", format!("{shown} can be written")), of_free(free_bytes(folder))]
}

fn try_writing(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    fs::write(&probe, b"doctor")?;
    fs::remove_file(probe)
}

fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn of_free(free: io::Result<u64>) -> Finding {
    let gigabytes = |bytes: u64| format!("{}.{} GB free", bytes / 1_000_000_000, bytes / 100_000_000 % 10);
    match free {
        Ok(free) if free < FREE_BYTES_WANTED => Finding::warn(
            "disk",
            gigabytes(free),
            "free some space, or put the data folder on another disk with --data-dir DIR",
        ),
        Ok(free) => Finding::ok("disk", gigabytes(free)),
        Err(error) => Finding::warn("disk", format!("free space unknown: {error}"), "look at it with df"),
    }
}

fn of_clock(now: SystemTime, synchronised: Option<bool>) -> Finding {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let shown = base::Wall::from_unix_ms(i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    let remedy = "set it by network time (timedatectl set-ntp true): playlists carry wall-clock times";
    if seconds < CLOCK_MIN_S {
        return Finding::fix("clock", format!("{shown} is in the past"), remedy);
    }
    match synchronised {
        Some(true) => Finding::ok("clock", format!("{shown}, synchronised")),
        Some(false) => Finding::warn("clock", format!("{shown}, not synchronised"), remedy),
        None => Finding::ok("clock", format!("{shown}; whether it is synchronised is unknown here")),
    }
}

fn ntp_synchronised() -> Option<bool> {
    let done = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output().ok()?;
    match String::from_utf8_lossy(&done.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn of_cores(cores: usize) -> Finding {
    let rungs = affordable(cores);
    let found = format!("{cores}; about enough for a ladder of {}", rungs.join(", "));
    if rungs.len() > 1 {
        return Finding::ok("cores", found);
    }
    Finding::warn(
        "cores",
        found,
        "use a smaller ladder, or streams passed through; what cannot keep up is shed and logged",
    )
}

/// The longest ladder that one stream can have in real time; the smallest rung when even that is too much.
fn affordable(cores: usize) -> Vec<&'static str> {
    let budget = PIXELS_PER_CORE_SECOND.saturating_mul(u64::try_from(cores).unwrap_or(u64::MAX));
    let cost = |ladder: &[(&str, u64)]| ladder.iter().map(|(_, pixels)| pixels).sum::<u64>();
    let ladders = (0..RUNGS.len()).map(|first| &RUNGS[first..]);
    let longest = ladders.into_iter().find(|ladder| cost(ladder) <= budget).unwrap_or(&RUNGS[RUNGS.len() - 1..]);
    longest.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn more_cores_afford_more_rungs() {
        let check = |cores: usize, first: &str| assert_eq!(affordable(cores).first(), Some(&first), "{cores} cores");
        check(0, "240p30");
        check(1, "720p30");
        check(2, "1080p30");
        check(64, "1080p30");
    }

    #[test]
    fn a_clock_that_was_never_set_must_be_fixed() {
        let check = |seconds: u64, synchronised: Option<bool>, verdict: Verdict| {
            assert_eq!(of_clock(UNIX_EPOCH + Duration::from_secs(seconds), synchronised).verdict, verdict, "{seconds}");
        };
        check(0, Some(true), Verdict::Fix);
        check(CLOCK_MIN_S, Some(true), Verdict::Ok);
        check(CLOCK_MIN_S, Some(false), Verdict::Warn);
        check(CLOCK_MIN_S, None, Verdict::Ok);
    }

    #[test]
    fn limits_below_what_is_wanted_are_told() {
        assert_eq!(of_open_files(Some(1_024)).verdict, Verdict::Warn);
        assert_eq!(of_open_files(Some(OPEN_FILES_WANTED)).verdict, Verdict::Ok);
        assert_eq!(of_open_files(None).verdict, Verdict::Ok);
        assert_eq!(of_free(Ok(FREE_BYTES_WANTED - 1)).verdict, Verdict::Warn);
        assert_eq!(of_free(Ok(FREE_BYTES_WANTED)).found, "2.2 GB free");
    }

    #[test]
    fn a_folder_that_cannot_be_made_must_be_fixed() {
        let finding = of_data_dir(Path::new("/proc/nothing/here"));
        assert_eq!(finding[0].verdict, Verdict::Fix, "{finding:?}");
    }
}
