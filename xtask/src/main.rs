//! Repository tasks: `cargo xtask tidy` keeps what a machine can keep, `cargo xtask generate` writes the generated
//! files.

mod generated;
mod tidy;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "usage: cargo xtask tidy [--no-generated] | generate\n\n\
    tidy      check the crate table, the cores, the house rules, the generated files and the documents' links;\n            \
              --no-generated leaves the generated files to the tests of headwater, which compare them too\n\
    generate  write the configuration reference and the defaults file under docs/reference\n";

fn main() -> ExitCode {
    let root = root();
    match env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(&root, env::args().nth(2).as_deref() != Some("--no-generated")),
        Some("generate") => match generated::write(&root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("xtask: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The checkout: the folder above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the crate is a folder of the checkout").to_owned()
}
