//! The `headwater` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    headwater::run(std::env::args_os())
}
