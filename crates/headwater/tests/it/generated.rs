//! The committed reference is the one that the code generates.

use std::{fs, path::PathBuf};

use headwater::settings::reference;

fn check(name: &str, command: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == expected,
        "docs/reference/{name} is not in step with the declarations: run `make generated` (headwater {command}) and commit the result"
    );
}

#[test]
fn the_configuration_page_is_in_step() {
    check("configuration.md", "config reference", &reference::page());
}

#[test]
fn the_defaults_file_is_in_step() {
    check("headwater.toml", "config defaults", &reference::defaults_file());
}
