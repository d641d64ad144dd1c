//! Notices an input that takes too long, or fills the memory, and ends the run with that input kept: neither can be
//! caught from within.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// An input of at most 128 KiB is parsed within this, on a busy machine too.
const INPUT_TIME_MAX: Duration = Duration::from_secs(20);
/// No parser needs more for such an input.
const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// Memory pages on every platform we build for.
const PAGE_BYTES: u64 = 4_096;

type Current = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// Watches one target until dropped.
pub(crate) struct Watch {
    current: Current,
    over: Arc<AtomicBool>,
}

impl Watch {
    pub(crate) fn start(name: &str, artifacts: &Path) -> Self {
        let (current, over) = (Current::default(), Arc::new(AtomicBool::new(false)));
        let watch = Self { current: Arc::clone(&current), over: Arc::clone(&over) };
        let file: PathBuf = artifacts.join(format!("{name}-stuck"));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                thread::sleep(INTERVAL);
                look(&current, &file);
            }
        });
        watch
    }

    pub(crate) fn begin(&self, input: &[u8]) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), input.to_vec()));
    }

    pub(crate) fn end(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn look(current: &Current, file: &Path) {
    let guard = current.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((began, input)) = guard.as_ref() else { return };
    let what = if began.elapsed() > INPUT_TIME_MAX {
        "takes too long"
    } else if resident_bytes() > MEMORY_BYTES_MAX {
        "fills the memory"
    } else {
        return;
    };
    let _ = file.parent().map(fs::create_dir_all);
    let _ = fs::write(file, input);
    eprintln!("an input {what}; kept in {}", file.display());
    std::process::exit(1);
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
