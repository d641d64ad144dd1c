//! One binary: reads the settings, assembles the rooms of the house, and answers the operator.
//!
//! It deliberately knows no media and no protocol: it reads environment, arguments and files, which no other room
//! does, and hands each room its section. Start from [`Settings`] and [`run`].
//!
//! ```
//! use headwater::settings::{Sources, resolve};
//!
//! let sources = Sources::default().with_env([("HEADWATER_SERVER_LOG_LEVEL", "debug")]);
//! let resolved = resolve(&sources).expect("one known key with a fitting value");
//! assert_eq!(resolved.settings.server.log_level, "debug");
//!
//! let mistyped = Sources::default().with_env([("HEADWATER_SERVER_LOG_LEVLE", "debug")]);
//! let problem = resolve(&mistyped).unwrap_err().to_string();
//! assert!(problem.contains("did you mean \"HEADWATER_SERVER_LOG_LEVEL\"?"), "{problem}");
//! ```

pub mod assemble;
pub mod banner;
pub mod cli;
pub mod client;
pub mod demo;
pub mod doctor;
mod limits;
pub mod logging;
pub mod ondemand;
pub mod ops;
pub mod roles;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod viewers;
pub mod webapp;
pub mod worker;

use std::{error::Error, ffi::OsString, process::ExitCode};

pub use settings::Settings;

use cli::{Action, Invocation};

/// Exit code for a command line or a setting that cannot be used, as clap's.
pub const EXIT_USAGE: u8 = 2;

/// Runs the binary: `args` begin with the program's name. Everything ends in an exit code, nothing in a panic.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let invocation = match cli::parse(args) {
        Ok(invocation) => invocation,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    perform(&invocation)
}

fn perform(invocation: &Invocation) -> ExitCode {
    match &invocation.action {
        Action::ConfigDefaults => return cli::say(&settings::reference::defaults_file()),
        Action::ConfigReference => return cli::say(&settings::reference::page()),
        _ => {}
    }
    let resolved = match invocation.sources().and_then(|sources| settings::resolve(&sources)) {
        Ok(resolved) => resolved,
        Err(error) => {
            cli::complain(&error);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match &invocation.action {
        Action::ConfigCheck => cli::say(&resolved.describe()),
        Action::Doctor { json } => cli::report(&doctor::examine(&resolved.settings), *json),
        Action::Ask(ask) => client::run(&resolved.settings.client, ask),
        Action::Worker => start(&resolved.settings, worker::run(&resolved.settings)),
        action => start(&resolved.settings, assemble::serve(resolved.settings.clone(), *action == Action::Demo)),
    }
}

/// Runs a service of this process until it ends.
fn start(settings: &Settings, service: impl Future<Output = Result<(), Box<dyn Error + Send + Sync>>>) -> ExitCode {
    if let Err(error) = logging::start(&settings.server) {
        cli::complain(&error);
        return ExitCode::from(EXIT_USAGE);
    }
    limits::raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("headwater").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::complain(&error);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}
