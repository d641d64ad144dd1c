//! `cargo xtask tidy`: what a machine can keep of the house rules. Lengths and ratios are reported, not judged.

mod documents;
mod layers;
mod report;
mod rules;
mod source;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::generated;
use source::Source;

/// Folders that hold code of ours.
const CODE: &[&str] = &["crates", "xtask", "benches", "tests", "fuzz"];
/// Folders that hold code of others, or results.
const PASSED_OVER: &[&str] = &["target", "node_modules", "dist", "corpus", "artifacts", "testdata", ".git"];
/// A binary's `main.rs` only calls its library.
const MAIN_LINES_MAX: usize = 30;
/// `base` is the floor that every crate stands on: it stays small.
const BASE_LINES_MAX: usize = 2_000;
/// Somebody new reads it in a minute.
const README_LINES_MAX: usize = 150;

/// A broken rule, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: String,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl Violation {
    fn new(file: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.into(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// Checks the checkout; prints the report and every violation.
pub(crate) fn run(root: &Path, with_generated: bool) -> ExitCode {
    match examine(root, with_generated) {
        Ok(violations) if violations.is_empty() => {
            println!("tidy: ok");
            ExitCode::SUCCESS
        }
        Ok(violations) => {
            for violation in &violations {
                eprintln!("{violation}");
            }
            eprintln!("tidy: {} violation(s)", violations.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn examine(root: &Path, with_generated: bool) -> io::Result<Vec<Violation>> {
    let sources = sources(root)?;
    print!("{}", report::text(&sources));
    let mut violations = layers::check(&layers::metadata(root)?);
    for source in &sources {
        violations.extend(rules::check(source));
    }
    violations.extend(sizes(root, &sources));
    violations.extend(documents::check(root)?);
    violations.extend(fuzz_entries(&fs::read_to_string(root.join("fuzz/Cargo.toml"))?, &sources));
    let stale = if with_generated { generated::stale(root)? } else { Vec::new() };
    violations.extend(
        stale.into_iter().map(|file| Violation::new(file, 0, "not in step with the code: run cargo xtask generate")),
    );
    violations.sort();
    Ok(violations)
}

fn sources(root: &Path) -> io::Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in CODE {
        walk(&root.join(folder), "rs", &mut paths)?;
    }
    paths.sort();
    paths.iter().map(|path| Ok(Source::new(&relative(root, path), &fs::read_to_string(path)?))).collect()
}

fn sizes(root: &Path, sources: &[Source]) -> Vec<Violation> {
    let lines =
        |keep: &dyn Fn(&Source) -> bool| sources.iter().filter(|s| keep(s)).map(Source::line_count).sum::<usize>();
    let main = "crates/headwater/src/main.rs";
    let readme = fs::read_to_string(root.join("README.md")).map_or(0, |text| text.lines().count());
    [
        (main, lines(&|source| source.path == main), MAIN_LINES_MAX),
        ("crates/base", lines(&|source| source.path.starts_with("crates/base/src/")), BASE_LINES_MAX),
        ("README.md", readme, README_LINES_MAX),
    ]
    .into_iter()
    .filter_map(|(name, lines, max)| over(name, lines, max))
    .collect()
}

/// Every fuzz target has its entry for `cargo fuzz`.
fn fuzz_entries(manifest: &str, sources: &[Source]) -> Vec<Violation> {
    let targets = sources.iter().filter_map(|source| source.path.strip_prefix("fuzz/"));
    let missing =
        targets.filter(|path| path.starts_with("fuzz_targets/") && !manifest.contains(&format!("path = \"{path}\"")));
    missing.map(|path| Violation::new("fuzz/Cargo.toml", 0, format!("no [[bin]] for {path}"))).collect()
}

fn over(name: &str, lines: usize, max: usize) -> Option<Violation> {
    (lines >= max).then(|| Violation::new(name, 0, format!("{lines} lines, has to stay below {max}")))
}

/// Every file below `folder` with this extension. A folder that does not exist has none.
fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if !PASSED_OVER.contains(&name.as_str()) {
                walk(&path, extension, found)?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(())
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_at_its_limit_is_too_large() {
        assert_eq!(over("README.md", 149, 150), None);
        assert_eq!(
            over("README.md", 150, 150).map(|v| v.to_string()),
            Some("README.md: 150 lines, has to stay below 150".into())
        );
    }

    #[test]
    fn a_fuzz_target_has_its_entry() {
        let sources = [Source::new("fuzz/fuzz_targets/flv.rs", ""), Source::new("crates/media/src/lib.rs", "")];
        assert_eq!(fuzz_entries("path = \"fuzz_targets/flv.rs\"", &sources), []);
        assert_eq!(fuzz_entries("", &sources).len(), 1);
    }

    #[test]
    fn a_violation_names_its_line() {
        assert_eq!(Violation::new("a.rs", 7, "wrong").to_string(), "a.rs:7: wrong");
    }
}
