//! Collects the files of `fuzz/fuzz_targets` as modules, so that a new target needs no entry anywhere.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate's folder"));
    let folder = here.join("../fuzz_targets");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(fs::canonicalize(path)?);
        }
    }
    files.sort();

    let (mut modules, mut table) = (String::new(), String::new());
    for file in &files {
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        modules += &format!(
            "#[allow(unused_attributes, missing_docs)]\n#[path = {:?}]\nmod {name};\n",
            file.display().to_string()
        );
        table += &format!("    ({name:?}, {name}::fuzz_one),\n");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder for generated files"));
    fs::write(out.join("targets.rs"), format!("{modules}\nconst TARGETS: &[(&str, Target)] = &[\n{table}];\n"))
}
