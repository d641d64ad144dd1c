//! Where mutation starts from: the committed seeds of a target, what coverage-guided runs have left, and a few shapes
//! of our own.

use std::{fs, path::Path};

/// Seeds are cut to this: a mutation of a longer one seldom reaches anything new.
const SEED_BYTES_MAX: usize = 64 * 1024;

/// The seeds of a target: `fuzz/seeds/NAME/*` (committed) and `fuzz/corpus/NAME/*` (left by `cargo fuzz`), sorted by
/// name.
pub(crate) fn seeds(fuzz: &Path, name: &str) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for folder in ["seeds", "corpus"] {
        let Ok(entries) = fs::read_dir(fuzz.join(folder).join(name)) else { continue };
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()));
    }
    files.sort();
    let mut seeds: Vec<_> = files.iter().filter_map(|file| fs::read(file).ok()).collect();
    seeds.extend(shapes());
    for seed in &mut seeds {
        seed.truncate(SEED_BYTES_MAX);
    }
    seeds
}

/// Inputs that every parser should see.
fn shapes() -> Vec<Vec<u8>> {
    let ramp = (0..=u8::MAX).collect::<Vec<_>>();
    vec![Vec::new(), vec![0], vec![0; 512], vec![0xff; 512], ramp]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_without_files_still_has_shapes() {
        let seeds = seeds(Path::new("/nowhere"), "flv");
        assert!(seeds.contains(&Vec::new()) && seeds.len() > 3);
    }
}
