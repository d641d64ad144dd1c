//! Runs every fuzz target with seeded mutations, on the stable toolchain.
//!
//! The targets are written for libFuzzer (`fuzz_target!(|data: &[u8]| …)`), and `cargo fuzz` runs them guided by
//! coverage. This program links the same files as functions: quick to build, the same inputs for the same seed, brief
//! enough for every run of the tests. It knows nothing of what the targets parse. Start from `run`.

extern crate self as libfuzzer_sys;

mod corpus;
mod mutate;
mod watch;

use std::{
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use mutate::Mutator;
use watch::Watch;

/// A target as a function of its input.
type Target = fn(&[u8]);

// Before the macro, so that the targets find it by their own import, as libFuzzer's.
include!(concat!(env!("OUT_DIR"), "/targets.rs"));

/// Takes the place of libFuzzer's macro: the target becomes a function.
#[macro_export]
macro_rules! fuzz_target {
    (|$data:ident| $body:expr) => {
        $crate::fuzz_target!(|$data: &[u8]| $body);
    };
    (|$data:ident: &[u8]| $body:expr) => {
        pub(crate) fn fuzz_one($data: &[u8]) {
            let _ = $body;
        }
    };
}

const USAGE: &str = "usage: fuzz-driver [--seconds N] [--seed N] [TARGET...]\n       fuzz-driver --input FILE TARGET\n";
/// Inputs between two looks at the clock.
const BATCH: u32 = 64;

struct Options {
    seconds: u64,
    seed: u64,
    input: Option<PathBuf>,
    targets: Vec<String>,
}

fn main() -> ExitCode {
    let Some(options) = options(env::args().skip(1)) else {
        eprintln!("{USAGE}targets: {}", TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "));
        return ExitCode::from(2);
    };
    let wanted = |name: &str| options.targets.is_empty() || options.targets.iter().any(|target| target == name);
    let mut healthy = true;
    for (name, target) in TARGETS.iter().filter(|(name, _)| wanted(name)) {
        healthy &= match &options.input {
            Some(file) => reproduce(name, *target, file),
            None => run(name, *target, &options),
        };
    }
    if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { seconds: 2, seed: 1, input: None, targets: Vec::new() };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => options.seconds = args.next()?.parse().ok()?,
            "--seed" => options.seed = args.next()?.parse().ok()?,
            "--input" => options.input = Some(args.next()?.into()),
            name if TARGETS.iter().any(|(target, _)| *target == name) => options.targets.push(arg),
            _ => return None,
        }
    }
    Some(options)
}

/// Feeds one target until its time is over. False when an input made it panic; the input is kept.
fn run(name: &str, target: Target, options: &Options) -> bool {
    let seeds = corpus::seeds(&fuzz_folder(), name);
    let mut mutator = Mutator::new(options.seed, &seeds);
    let watch = Watch::start(name, &fuzz_folder().join("artifacts"));
    let (began, end) = (Instant::now(), Duration::from_secs(options.seconds));
    let mut inputs = 0_u64;
    panic::set_hook(Box::new(|_| {}));
    let mut survived = true;
    while survived && began.elapsed() < end {
        for _ in 0..BATCH {
            let input = mutator.next_input();
            inputs += 1;
            watch.begin(&input);
            survived = panic::catch_unwind(AssertUnwindSafe(|| target(&input))).is_ok();
            watch.end();
            if !survived {
                let _ = panic::take_hook();
                keep(name, &input);
                let _ = panic::catch_unwind(AssertUnwindSafe(|| target(&input)));
                break;
            }
        }
    }
    let _ = panic::take_hook();
    println!("{name:<24} {inputs:>9} inputs from {} seeds: {}", seeds.len(), if survived { "ok" } else { "PANIC" });
    survived
}

fn reproduce(name: &str, target: Target, file: &Path) -> bool {
    match fs::read(file) {
        Ok(input) => {
            target(&input);
            println!("{name}: no panic");
            true
        }
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            false
        }
    }
}

fn keep(name: &str, input: &[u8]) {
    let file = fuzz_folder().join("artifacts").join(format!("{name}-panic"));
    let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, input));
    match written {
        Ok(()) => eprintln!("{name} panics on {} bytes, kept in {}", input.len(), file.display()),
        Err(error) => eprintln!("{name} panics on {input:02x?} (not kept: {error})"),
    }
    eprintln!("again: cargo run -p fuzz-driver -- --input {} {name}", file.display());
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
