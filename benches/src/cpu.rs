//! CPU time and memory of a server's processes, from the scheduler's own books.

use std::{fs, time::Duration};

/// CPU time of a process and its children: every thread's time on a core (`/proc/PID/task/TID/schedstat`, nanoseconds).
pub(crate) fn cpu_time(pid: u32) -> Duration {
    processes(pid).into_iter().map(process_time).sum()
}

/// Resident memory of a process and its children, in bytes (`Pss` where the kernel tells it, so that shared pages count once).
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    processes(pid).into_iter().map(process_bytes).sum()
}

/// The process and its descendants.
fn processes(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children.flat_map(processes)).collect()
}

fn process_time(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn process_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    kilobytes("Pss:").unwrap_or_default() * 1024
}
