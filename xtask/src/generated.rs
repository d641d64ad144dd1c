//! Files that the binary generates and the repository keeps.

use std::{fs, io, path::Path, process::Command};

/// The file, and the words that make the binary print it.
const FILES: &[(&str, &[&str])] = &[
    ("docs/reference/configuration.md", &["config", "reference"]),
    ("docs/reference/headwater.toml", &["config", "defaults"]),
];

/// Writes every generated file.
pub(crate) fn write(root: &Path) -> io::Result<()> {
    for (file, words) in FILES {
        fs::write(root.join(file), generate(root, words)?)?;
        println!("wrote {file}");
    }
    Ok(())
}

/// The generated files that differ from what the binary prints.
pub(crate) fn stale(root: &Path) -> io::Result<Vec<&'static str>> {
    let mut stale = Vec::new();
    for (file, words) in FILES {
        let committed = fs::read(root.join(file)).unwrap_or_default();
        if committed != generate(root, words)? {
            stale.push(*file);
        }
    }
    Ok(stale)
}

fn generate(root: &Path, words: &[&str]) -> io::Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--package", "headwater", "--"])
        .args(words)
        .current_dir(root)
        .output()?;
    if !done.status.success() {
        let why = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(io::Error::other(format!("headwater {}: {why}", words.join(" "))));
    }
    Ok(done.stdout)
}
