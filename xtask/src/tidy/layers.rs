//! The crate table: arrows only point down.

use std::{io, path::Path, process::Command};

use serde_json::Value;

use super::Violation;

/// The crate table of ARCHITECTURE.md: a crate, and the crates of ours that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("media", &["base"]),
    ("store", &["base"]),
    ("protocols", &["base", "media"]),
    ("transcode", &["base", "media"]),
    ("packager", &["base", "media"]),
    ("functions", &["base"]),
    ("live", &["base", "media", "protocols", "packager", "transcode", "store"]),
    ("vod", &["base", "media", "packager", "transcode", "store"]),
    ("edge", &["base", "functions"]),
    ("api", &["base", "live", "vod", "edge", "store"]),
    (
        "headwater",
        &["base", "media", "store", "protocols", "transcode", "packager", "functions", "live", "vod", "edge", "api"],
    ),
    ("testkit", &["base", "media", "protocols", "packager"]),
    ("xtask", &[]),
    ("benches", EVERYTHING),
    ("e2e", EVERYTHING),
    ("fuzz-driver", EVERYTHING),
];
/// Benches, end-to-end tests and the fuzz driver are not part of the product.
const EVERYTHING: &[&str] = &[
    "base",
    "media",
    "store",
    "protocols",
    "transcode",
    "packager",
    "functions",
    "live",
    "vod",
    "edge",
    "api",
    "headwater",
    "testkit",
    "e2e",
];
/// A crate that tests may use beside what its own row allows.
const FOR_TESTS: &str = "testkit";

/// A dependency between two crates of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Arrow {
    from: String,
    to: String,
    /// From tests only.
    dev: bool,
}

/// Reads the arrows between the crates of the workspace.
pub(super) fn metadata(root: &Path) -> io::Result<Vec<Arrow>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo).args(["metadata", "--format-version=1", "--no-deps"]).current_dir(root).output()?;
    if !done.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()));
    }
    Ok(arrows(&serde_json::from_slice(&done.stdout)?))
}

fn arrows(metadata: &Value) -> Vec<Arrow> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut arrows = Vec::new();
    for package in list(&metadata["packages"]) {
        let from = text(&package["name"]);
        // A crate without arrows still has to be in the table.
        arrows.push(Arrow { from: from.clone(), to: from.clone(), dev: false });
        for dependency in list(&package["dependencies"]) {
            if !dependency["path"].is_null() {
                arrows.push(Arrow {
                    from: from.clone(),
                    to: text(&dependency["name"]),
                    dev: dependency["kind"] == "dev",
                });
            }
        }
    }
    arrows
}

/// The arrows that the table does not have.
pub(super) fn check(arrows: &[Arrow]) -> Vec<Violation> {
    arrows.iter().filter_map(wrong).collect()
}

fn wrong(arrow: &Arrow) -> Option<Violation> {
    let file = format!("crates/{}/Cargo.toml", arrow.from);
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == arrow.from) else {
        return Some(Violation::new(file, 0, "not in the crate table of xtask/src/tidy/layers.rs and ARCHITECTURE.md"));
    };
    let itself = arrow.from == arrow.to;
    let in_row = allowed.contains(&arrow.to.as_str());
    let in_tests = arrow.dev && arrow.to == FOR_TESTS;
    let what = format!("{} may not use {}: its row allows {}", arrow.from, arrow.to, or_nothing(allowed));
    (!itself && !in_row && !in_tests).then(|| Violation::new(file, 0, what))
}

fn or_nothing(names: &[&str]) -> String {
    if names.is_empty() { "nothing of ours".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn violations(name: &str, dependencies: Value) -> Vec<String> {
        let metadata = json!({"packages": [{"name": name, "dependencies": dependencies}]});
        check(&arrows(&metadata)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn arrows_point_down() {
        let path = "/somewhere";
        let check = |from: &str, to: &str, kind: Value, allowed: bool| {
            let found = violations(from, json!([{"name": to, "path": path, "kind": kind}]));
            assert_eq!(found.is_empty(), allowed, "{found:?}");
        };
        check("live", "media", Value::Null, true);
        check("live", "edge", Value::Null, false);
        check("edge", "media", Value::Null, false);
        check("base", "media", Value::Null, false);
        check("headwater", "live", Value::Null, true);
        check("media", "testkit", json!("dev"), true);
        check("media", "testkit", Value::Null, false);
        check("media", "live", json!("dev"), false);
    }

    #[test]
    fn crates_of_others_are_not_judged_here() {
        assert!(violations("edge", json!([{"name": "media", "path": null, "kind": null}])).is_empty());
    }

    #[test]
    fn a_crate_outside_the_table_is_a_violation() {
        assert_eq!(violations("utils", json!([])).len(), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        let reaches_lower = |(index, (name, allowed)): (usize, &(&str, &[&str]))| {
            let above = MAY_USE[index + 1..].iter().map(|(name, _)| *name).filter(|above| allowed.contains(above));
            (name.to_string(), above.map(str::to_owned).collect::<Vec<_>>())
        };
        let rows = MAY_USE.iter().enumerate().map(reaches_lower);
        for (name, above) in rows.filter(|(name, _)| !["benches", "e2e", "fuzz-driver"].contains(&name.as_str())) {
            assert!(above.is_empty(), "{name} uses {above:?}, which stand above it");
        }
    }
}
