//! Embeds the built web app: a table of `web/dist` with content type, entity tag and bytes. Without a built app the
//! table is empty, and the binary serves a page that says how to build it.

use std::{
    env, fs,
    hash::{DefaultHasher, Hasher},
    io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate's folder"));
    let dist = root.join("../../web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dist.display());

    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        walk(&dist, &mut files)?;
        files.sort();
    }
    let mut table = String::from("&[\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder for generated files"));
    for (index, file) in files.iter().enumerate() {
        table += &row(&dist, file, &out.join(format!("webapp-{index}.bin")))?;
    }
    table += "]\n";
    fs::write(out.join("webapp.rs"), table)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The table's row for a file, whose bytes go to `copy`: the web build may replace its folder while the compiler reads.
fn row(dist: &Path, file: &Path, copy: &Path) -> io::Result<String> {
    let file = fs::canonicalize(file)?;
    let name = file.strip_prefix(fs::canonicalize(dist)?).expect("the walk stays inside its folder");
    let name = name.to_string_lossy().replace('\\', "/");
    println!("cargo::rerun-if-changed={}", file.display());
    let bytes = fs::read(&file)?;
    fs::write(copy, &bytes)?;
    Ok(format!(
        "    Asset {{ path: {name:?}, kind: {:?}, etag: \"\\\"{:016x}\\\"\", body: include_bytes!({:?}) }},\n",
        kind(&name),
        hash(&bytes),
        copy.display().to_string(),
    ))
}

fn hash(bytes: &[u8]) -> u64 {
    // Fixed keys: the same bytes have the same tag in every build.
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "wasm" => "application/wasm",
        "vtt" => "text/vtt; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
