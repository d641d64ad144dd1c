//! The command line: words and flags in, an [`Invocation`] out; and the few places that write to the terminal.

use std::{
    error::Error as StdError,
    ffi::OsString,
    io::{ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::{
    client::{self, Ask},
    doctor::Report,
    settings::{DEFAULT_FILE, ENV_CONFIG, Error, FlagValue, Sources, section},
};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the platform.
    Serve,
    /// Run the platform with the colour-bar channel.
    Demo,
    /// Examine the machine.
    Doctor {
        /// As JSON, for machines.
        json: bool,
    },
    /// Say whether the settings are usable.
    ConfigCheck,
    /// Print the defaults file.
    ConfigDefaults,
    /// Print the reference page.
    ConfigReference,
    /// Do the steps of jobs for a platform elsewhere.
    Worker,
    /// Ask a running platform.
    Ask(Ask),
}

/// A command line that was understood.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    config: Option<PathBuf>,
    flags: Vec<FlagValue>,
    malformed_set: Option<String>,
}

/// A setting with a flag of its own.
#[derive(Clone, Copy, Debug)]
pub struct Shortcut {
    /// Without the dashes.
    pub flag: &'static str,
    /// The placeholder in the help.
    pub value: &'static str,
    /// The setting's section.
    pub section: &'static str,
    /// The setting's key.
    pub key: &'static str,
}

/// The settings with flags of their own; everything else is reached with `--set`.
pub const SHORTCUTS: &[Shortcut] = &[
    Shortcut { flag: "data-dir", value: "DIR", section: "server", key: "data_dir" },
    Shortcut { flag: "http", value: "ADDR", section: "edge", key: "http" },
    Shortcut { flag: "rtmp", value: "ADDR", section: "live", key: "rtmp" },
    Shortcut { flag: "ops", value: "ADDR", section: "server", key: "ops" },
    Shortcut { flag: "server", value: "URL", section: "client", key: "server" },
    Shortcut { flag: "token", value: "SECRET", section: "client", key: "token" },
    Shortcut { flag: "caps", value: "CAP,...", section: "worker", key: "caps" },
    Shortcut { flag: "slots", value: "NUMBER", section: "worker", key: "slots" },
    Shortcut { flag: "name", value: "NAME", section: "worker", key: "name" },
    Shortcut { flag: "role", value: "ROLE,...", section: "server", key: "roles" },
    Shortcut { flag: "log", value: "LEVEL", section: "server", key: "log_level" },
    Shortcut { flag: "log-format", value: "text|json", section: "server", key: "log_format" },
];

/// Reads the arguments; the first is the program's name.
///
/// # Errors
/// As clap words them; `--help` and `--version` are such "errors" with exit code 0.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    let (action, inner) = action_of(&matches);
    let mut flags: Vec<FlagValue> = Vec::new();
    for shortcut in SHORTCUTS.iter().filter(|shortcut| is_registered(shortcut)) {
        if let Some(texts) = inner.get_many::<String>(shortcut.flag) {
            let (section, key) = (shortcut.section.to_owned(), shortcut.key.to_owned());
            let text = texts.map(String::as_str).collect::<Vec<_>>().join(",");
            flags.push(FlagValue { flag: format!("--{}", shortcut.flag), section, key, text });
        }
    }
    let mut malformed_set = None;
    for text in inner.get_many::<String>("set").into_iter().flatten() {
        match set_of(text) {
            Some(flag) => flags.push(flag),
            None => malformed_set = Some(text.clone()),
        }
    }
    Ok(Invocation { action, config: inner.get_one("config").cloned(), flags, malformed_set })
}

/// The whole command line, as `--help` shows it.
pub fn command() -> Command {
    Command::new("headwater")
        .about("Headwater: live video and video on demand, from the source to every screen")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(setting_args())
        .subcommand(Command::new("serve").about("Run the platform"))
        .subcommand(Command::new("demo").about("Run the platform with a colour-bar channel on air"))
        .subcommand(
            Command::new("worker")
                .about("Do the steps of jobs for a platform elsewhere: needs its address, a token, and FFmpeg"),
        )
        .subcommands(client::subcommands())
        .subcommand(
            Command::new("doctor")
                .about("Examine the machine and the settings; exit code 1 when something must be fixed")
                .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the findings as JSON")),
        )
        .subcommand(
            Command::new("config")
                .about("Check and print the settings")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(
                    Command::new("check")
                        .about("Say whether the settings are usable and what differs from the defaults"),
                )
                .subcommand(
                    Command::new("defaults").about("Print every setting with its default, as a file to copy from"),
                )
                .subcommand(Command::new("reference").about("Print every setting as a page in Markdown")),
        )
}

fn setting_args() -> Vec<Arg> {
    let mut args = vec![
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .global(true)
            .help(format!("Configuration file [default: {DEFAULT_FILE} when it exists]")),
    ];
    for shortcut in SHORTCUTS.iter().filter(|shortcut| is_registered(shortcut)) {
        let field = section(shortcut.section).and_then(|section| section.field(shortcut.key));
        let field = field.expect("a registered shortcut has a setting");
        let doc = field.doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "");
        let help = format!("{doc} [default: {}]", field.default.trim_matches('"'));
        let action = if shortcut.key == "roles" { ArgAction::Append } else { ArgAction::Set };
        let arg = Arg::new(shortcut.flag).long(shortcut.flag).value_name(shortcut.value).action(action);
        args.push(arg.global(true).help(help));
    }
    args.push(
        Arg::new("set")
            .long("set")
            .value_name("SECTION.KEY=VALUE")
            .action(ArgAction::Append)
            .global(true)
            .help("Any other setting; may be given several times"),
    );
    args
}

fn is_registered(shortcut: &Shortcut) -> bool {
    section(shortcut.section).is_some_and(|section| section.field(shortcut.key).is_some())
}

fn action_of(matches: &ArgMatches) -> (Action, &ArgMatches) {
    match matches.subcommand() {
        Some(("demo", inner)) => (Action::Demo, inner),
        Some(("worker", inner)) => (Action::Worker, inner),
        Some(("doctor", inner)) => (Action::Doctor { json: inner.get_flag("json") }, inner),
        Some(("config", inner)) => match inner.subcommand() {
            Some(("defaults", inner)) => (Action::ConfigDefaults, inner),
            Some(("reference", inner)) => (Action::ConfigReference, inner),
            Some((_, inner)) => (Action::ConfigCheck, inner),
            None => (Action::ConfigCheck, inner),
        },
        Some((word, inner)) => match client::parse(word, inner) {
            Some((ask, innermost)) => (Action::Ask(ask), innermost),
            None => (Action::Serve, inner),
        },
        None => (Action::Serve, matches),
    }
}

fn set_of(text: &str) -> Option<FlagValue> {
    let (name, value) = text.split_once('=')?;
    let (section, key) = name.split_once('.')?;
    let (section, key) = (section.trim().to_owned(), key.trim().to_owned());
    Some(FlagValue { flag: format!("--set {section}.{key}"), section, key, text: value.trim().to_owned() })
}

impl Invocation {
    /// Reads the configuration file and the environment.
    ///
    /// # Errors
    /// When a `--set` is malformed, or a named file cannot be read. Without a name, a missing file is no error.
    pub fn sources(&self) -> Result<Sources, Error> {
        if let Some(text) = &self.malformed_set {
            return Err(Error::Set(text.clone()));
        }
        let named = self.config.clone().or_else(|| std::env::var_os(ENV_CONFIG).map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => None,
            Err(reason) => return Err(Error::Unreadable { path, reason }),
        };
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Sources { file, env: env.collect(), flags: self.flags.clone() })
    }
}

/// Prints a text that was asked for. A reader that went away (`| head`) is no failure.
pub fn say(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Prints an error with the chain of its causes.
pub fn complain(error: &dyn StdError) {
    eprintln!("headwater: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}

/// Prints what the doctor found. Exit code 1 when something must be fixed.
pub fn report(report: &Report, json: bool) -> ExitCode {
    let text = if json { report.to_json() } else { report.to_text() };
    say(&text);
    if report.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, clap::Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn words_become_actions() {
        let check = |line: &str, action: Action| assert_eq!(parsed(line).expect(line).action, action, "{line}");
        check("headwater serve", Action::Serve);
        check("headwater demo", Action::Demo);
        check("headwater doctor --json", Action::Doctor { json: true });
        check("headwater config check", Action::ConfigCheck);
        check("headwater config defaults", Action::ConfigDefaults);
        check("headwater config reference", Action::ConfigReference);
    }

    #[test]
    fn flags_are_settings_before_and_after_the_word() {
        let check = |line: &str| {
            let invocation = parsed(line).expect(line);
            let given: Vec<_> =
                invocation.flags.iter().map(|f| format!("{}.{}={}", f.section, f.key, f.text)).collect();
            assert_eq!(given, ["server.data_dir=/srv", "server.log_level=debug"], "{line}");
        };
        check("headwater serve --data-dir /srv --set server.log_level=debug");
        check("headwater --data-dir /srv serve --set server.log_level=debug");
    }

    #[test]
    fn what_is_not_a_command_line_has_exit_code_2() {
        let check = |line: &str| assert_eq!(parsed(line).expect_err(line).exit_code(), 2, "{line}");
        check("headwater");
        check("headwater sevre");
        check("headwater config");
        check("headwater serve --htpt 1");
    }

    #[test]
    fn a_malformed_set_is_an_error() {
        let invocation = parsed("headwater serve --set log_level").expect("clap takes any text");
        let error = invocation.sources().expect_err("there is no section and no value");
        assert!(error.to_string().contains("SECTION.KEY=VALUE"), "{error}");
    }
}
