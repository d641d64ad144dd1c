//! Documents: every relative link leads somewhere.

use std::{fs, io, path::Path};

use super::{Violation, relative, walk};

/// Folders with documents, beside those of the checkout itself.
const FOLDERS: &[&str] = &["docs", "crates", "web/src", "deploy", "functions", "benches", "tests"];

pub(super) fn check(root: &Path) -> io::Result<Vec<Violation>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    for folder in FOLDERS {
        walk(&root.join(folder), "md", &mut paths)?;
    }
    let mut found = Vec::new();
    for path in paths {
        let folder = path.parent().unwrap_or(root).to_owned();
        let name = relative(root, &path);
        found.extend(dead_links(&name, &fs::read_to_string(&path)?, |link| folder.join(link).exists()));
    }
    Ok(found)
}

fn dead_links(name: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        for target in if in_code { Vec::new() } else { targets(line) } {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !exists(file) {
                found.push(Violation::new(name, index + 1, format!("the link to {target} leads nowhere")));
            }
        }
    }
    found
}

/// The relative targets of `[text](target)` and `![text](target)`.
fn targets(line: &str) -> Vec<&str> {
    let outside_code = line.split('`').step_by(2);
    let links = outside_code.flat_map(|part| part.split("](").skip(1));
    let target = links.filter_map(|rest| rest.split([')', ' ']).next());
    target.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_lead_somewhere() {
        let check = |text: &str, dead: usize| {
            let found = dead_links("README.md", text, |file| file == "docs/there.md");
            assert_eq!(found.len(), dead, "{text}");
        };
        check("[a](docs/there.md)", 0);
        check("[a](docs/there.md#part) and [b](#here)", 0);
        check("[a](https://example.org/x) ![b](http://example.org/y.png)", 0);
        check("`[a](docs/gone.md)`", 0);
        check("```\n[a](docs/gone.md)\n```", 0);
        check("[a](docs/gone.md)", 1);
        check("![a](docs/gone.png) [b](docs/there.md)", 1);
    }
}
