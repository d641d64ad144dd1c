//! The layers and their merge. Pure: the caller reads file, environment and arguments.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use base::config::{Field, Section};
use thiserror::Error;
use toml::Value;

use super::{
    ENV_CONFIG, ENV_PREFIX, SECTIONS, SectionInfo, Settings, document, env_name, is_secret, section, suggest, validate,
};

/// Shown in place of a secret.
const REDACTED: &str = "\"(redacted)\"";

/// What was given beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file: its path, for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// The environment; names without the prefix are passed over.
    pub env: Vec<(String, String)>,
    /// Settings given as arguments, in their order.
    pub flags: Vec<FlagValue>,
}

/// A setting given as an argument.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The argument as typed, for messages: `--http` or `--set edge.http`.
    pub flag: String,
    /// The section it belongs to.
    pub section: String,
    /// Its key there.
    pub key: String,
    /// The text given.
    pub text: String,
}

impl Sources {
    /// The same with these environment variables.
    #[must_use]
    pub fn with_env<'a>(mut self, env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.env.extend(env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// The same with this file.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.file = Some((path.into(), text.into()));
        self
    }

    /// The same with `--set section.key=text`.
    #[must_use]
    pub fn with_set(mut self, section: &str, key: &str, text: &str) -> Self {
        let flag = format!("--set {section}.{key}");
        self.flags.push(FlagValue { flag, section: section.into(), key: key.into(), text: text.into() });
        self
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The declaration.
    Default,
    /// The file, at a line counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Env(String),
    /// An argument.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong with the settings, where it stands, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{at}: {what}; {hint}")]
pub struct Problem {
    /// Where it stands.
    pub at: Origin,
    /// What is wrong, naming the key.
    pub what: String,
    /// What would be right.
    pub hint: String,
}

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// Everything that is wrong with them, at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {reason}; name another with --config, or leave it out", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// `--set` without `SECTION.KEY=VALUE`.
    #[error("--set {0:?} is not SECTION.KEY=VALUE, as in --set server.log_level=debug")]
    Set(String),
}

/// The settings in force, with the origin of each.
#[derive(Debug)]
pub struct Resolved {
    /// The settings.
    pub settings: Settings,
    merged: Merged,
}

/// Merges the layers.
///
/// # Errors
/// [`Error::Invalid`] with every problem found: keys and sections that do not exist, and values that do not fit.
pub fn resolve(sources: &Sources) -> Result<Resolved, Error> {
    let (mut merged, mut problems) = (Merged::default(), Vec::new());
    add_file(sources, &mut merged, &mut problems);
    add_env(sources, &mut merged, &mut problems);
    add_flags(sources, &mut merged, &mut problems);
    let settings = Settings::from_merged(&merged, &mut problems);
    validate::check(&settings, &merged, &mut problems);
    if problems.is_empty() { Ok(Resolved { settings, merged }) } else { Err(Error::Invalid(problems)) }
}

impl Resolved {
    /// What differs from the defaults and why, for `headwater config check`. Secrets are redacted.
    pub fn describe(&self) -> String {
        let mut text = String::from("ok\n");
        for ((section, key), given) in &self.merged.given {
            text += &format!("{section}.{key} = {}  # {}\n", given.shown(), given.origin);
        }
        if self.merged.given.is_empty() {
            text += "every setting has its default\n";
        }
        text
    }

    /// Where the value of a setting came from.
    pub fn origin(&self, section: &str, key: &str) -> Origin {
        self.merged.origin(section, key)
    }
}

/// What was given, the later layer over the earlier.
#[derive(Debug, Default)]
pub(super) struct Merged {
    given: BTreeMap<(String, String), Given>,
}

#[derive(Debug)]
struct Given {
    value: Value,
    origin: Origin,
    secret: bool,
}

impl Given {
    fn shown(&self) -> String {
        if self.secret { REDACTED.to_owned() } else { self.value.to_string() }
    }
}

impl Merged {
    fn put(&mut self, section: &str, field: &Field, value: Value, origin: Origin) {
        let given = Given { value, origin, secret: is_secret(field) };
        self.given.insert((section.to_owned(), field.key.to_owned()), given);
    }

    pub(super) fn origin(&self, section: &str, key: &str) -> Origin {
        let given = self.given.get(&(section.to_owned(), key.to_owned()));
        given.map_or(Origin::Default, |given| given.origin.clone())
    }

    /// Builds a room's section; each value that does not fit is a problem and keeps its default.
    pub(super) fn section<T: Section>(&self, problems: &mut Vec<Problem>) -> T {
        let mut table = toml::Table::new();
        for field in T::FIELDS {
            let Some(given) = self.given.get(&(T::NAME.to_owned(), field.key.to_owned())) else { continue };
            let alone = toml::Table::from_iter([(field.key.to_owned(), given.value.clone())]);
            match alone.try_into::<T>() {
                Ok(_) => drop(table.insert(field.key.to_owned(), given.value.clone())),
                Err(error) => problems.push(misfit(T::NAME, field, given, &error)),
            }
        }
        table.try_into().unwrap_or_default()
    }
}

fn misfit(section: &str, field: &Field, given: &Given, error: &toml::de::Error) -> Problem {
    // The reason may quote the value.
    let reason = if given.secret { "does not fit" } else { error.message() };
    Problem {
        at: given.origin.clone(),
        what: format!("{section}.{} = {}: {}", field.key, given.shown(), reason.trim()),
        hint: format!("expected {}, for example {}", field.kind, field.default),
    }
}

fn add_file(sources: &Sources, merged: &mut Merged, problems: &mut Vec<Problem>) {
    let Some((path, text)) = &sources.file else { return };
    let at = |line| Origin::File(path.clone(), line);
    let (entries, tables) = match document::read(text) {
        Ok(read) => read,
        Err(malformed) => {
            let hint = "the file is TOML: [section], then key = value".to_owned();
            return problems.push(Problem { at: at(malformed.line), what: malformed.message, hint });
        }
    };
    for (name, line) in tables {
        if section(&name).is_none() {
            problems.push(unknown_section(&name, at(line)));
        }
    }
    for entry in entries {
        let Some(known) = section(&entry.section) else { continue };
        match known.field(&entry.key) {
            Some(field) => merged.put(known.name, field, entry.value, at(entry.line)),
            None if entry.key.is_empty() => problems.push(Problem {
                at: at(entry.line),
                what: format!("{:?} is a section, not a value", known.name),
                hint: format!("write [{}], and its settings below", known.name),
            }),
            None => problems.push(unknown_key(known, &entry.key, at(entry.line))),
        }
    }
}

fn add_env(sources: &Sources, merged: &mut Merged, problems: &mut Vec<Problem>) {
    let settings = || SECTIONS.iter().flat_map(|section| section.fields.iter().map(move |field| (section, field)));
    for (name, text) in &sources.env {
        if !name.starts_with(ENV_PREFIX) || name == ENV_CONFIG {
            continue;
        }
        let at = Origin::Env(name.clone());
        match settings().find(|(section, field)| env_name(section.name, field.key) == *name) {
            Some((section, field)) => merged.put(section.name, field, from_text(field, text), at),
            None => {
                let names: Vec<_> = settings().map(|(section, field)| env_name(section.name, field.key)).collect();
                let hint = did_you_mean(
                    name,
                    names.iter().map(String::as_str),
                    "the names are in the configuration reference",
                );
                problems.push(Problem { at, what: "no setting has this name".to_owned(), hint });
            }
        }
    }
}

fn add_flags(sources: &Sources, merged: &mut Merged, problems: &mut Vec<Problem>) {
    for given in &sources.flags {
        let at = Origin::Flag(given.flag.clone());
        match section(&given.section) {
            None => problems.push(unknown_section(&given.section, at)),
            Some(known) => match known.field(&given.key) {
                None => problems.push(unknown_key(known, &given.key, at)),
                Some(field) => merged.put(known.name, field, from_text(field, &given.text), at),
            },
        }
    }
}

/// The value of a text from environment or arguments, where people do not write TOML's quotes: as the default is of
/// one kind, so is the text. A list of texts may be written with commas.
fn from_text(field: &Field, text: &str) -> Value {
    let as_toml = |text: &str| toml::from_str::<toml::Table>(&format!("value = {text}")).ok()?.remove("value");
    match as_toml(field.default) {
        Some(Value::String(_)) => Value::String(text.to_owned()),
        Some(Value::Array(_)) if !text.trim_start().starts_with('[') => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| as_toml(part).unwrap_or_else(|| Value::String(part.to_owned()))).collect())
        }
        _ => as_toml(text).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}

fn unknown_section(name: &str, at: Origin) -> Problem {
    let names = SECTIONS.iter().map(|section| section.name);
    let all = names.clone().collect::<Vec<_>>().join(", ");
    let hint = did_you_mean(name, names, &format!("the sections are {all}"));
    Problem { at, what: format!("{name:?} is not a section"), hint }
}

fn unknown_key(section: &SectionInfo, key: &str, at: Origin) -> Problem {
    let what = format!("[{}] has no setting {key:?}", section.name);
    if let Some(other) = SECTIONS.iter().find(|other| other.field(key).is_some()) {
        return Problem { at, what, hint: format!("did you mean \"{}.{key}\"?", other.name) };
    }
    let keys = section.fields.iter().map(|field| field.key);
    let all = keys.clone().collect::<Vec<_>>().join(", ");
    let hint = did_you_mean(key, keys, &format!("its settings are {all}"));
    Problem { at, what, hint }
}

fn did_you_mean<'a>(word: &str, candidates: impl Iterator<Item = &'a str>, otherwise: &str) -> String {
    match suggest::nearest(word, candidates) {
        Some(near) => format!("did you mean {near:?}?"),
        None => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::LogFormat;

    #[test]
    fn a_later_layer_wins() {
        let file = "[server]\nlog_level = \"warn\"\nlog_format = \"json\"\nshutdown_grace_ms = 5\n";
        let sources = Sources::default()
            .with_file("headwater.toml", file)
            .with_env([
                ("HEADWATER_SERVER_LOG_LEVEL", "debug"),
                ("HEADWATER_SERVER_SHUTDOWN_GRACE_MS", "6"),
                ("PATH", "/bin"),
            ])
            .with_set("server", "log_level", "trace");
        let resolved = resolve(&sources).expect("every layer is valid");
        let server = &resolved.settings.server;
        assert_eq!((server.log_level.as_str(), server.shutdown_grace_ms), ("trace", 6));
        assert_eq!(server.log_format, LogFormat::Json);
        assert_eq!(resolved.origin("server", "log_format"), Origin::File("headwater.toml".into(), 3));
        assert_eq!(resolved.origin("server", "ops"), Origin::Default);
        let text = resolved.describe();
        assert!(text.starts_with("ok\n"), "{text}");
        assert!(text.contains("server.log_level = \"trace\"  # --set server.log_level"), "{text}");
        assert!(!text.contains("server.ops"), "{text}");
    }

    #[test]
    fn a_problem_names_place_key_and_remedy() {
        let check = |sources: Sources, expected: &str| {
            let text = resolve(&sources).expect_err("the sources have a problem").to_string();
            assert_eq!(text, expected);
        };
        let file = |text: &str| Sources::default().with_file("headwater.toml", text);
        check(
            file("[server]\nlog_lvel = \"info\"\n"),
            "headwater.toml:2: [server] has no setting \"log_lvel\"; did you mean \"log_level\"?",
        );
        check(file("\n[sever]\n"), "headwater.toml:2: \"sever\" is not a section; did you mean \"server\"?");
        check(
            file("server = 1\n"),
            "headwater.toml:1: \"server\" is a section, not a value; write [server], and its settings below",
        );
        check(
            file("[server]\nshutdown_grace_ms = \"soon\"\n"),
            "headwater.toml:2: server.shutdown_grace_ms = \"soon\": invalid type: string \"soon\", expected u32; expected u32, for example 10000",
        );
        check(
            Sources::default().with_env([("HEADWATER_SERVER_SHUTDOWN_GRACE_MS", "-1")]),
            "environment variable HEADWATER_SERVER_SHUTDOWN_GRACE_MS: server.shutdown_grace_ms = -1: invalid value: integer `-1`, \
             expected u32; expected u32, for example 10000",
        );
        check(
            Sources::default().with_env([("HEADWATER_SERVER_DATADIR", "x")]),
            "environment variable HEADWATER_SERVER_DATADIR: no setting has this name; did you mean \"HEADWATER_SERVER_DATA_DIR\"?",
        );
        check(
            Sources::default().with_set("server", "nonsense", "1"),
            "--set server.nonsense: [server] has no setting \"nonsense\"; its settings are data_dir, roles, ops, log_level, log_format, shutdown_grace_ms",
        );
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let sources = Sources::default().with_file("headwater.toml", "[server]\nopss = 1\nlog_format = \"xml\"\n");
        let Err(Error::Invalid(problems)) = resolve(&sources) else { panic!("two problems were accepted") };
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let field = Field { key: "publish_key", default: "\"\"", kind: "Option < base :: Secret >", doc: "" };
        let mut merged = Merged::default();
        merged.put("live", &field, Value::String("hunter2".into()), Origin::Env("X".into()));
        let given = &merged.given[&("live".into(), "publish_key".into())];
        let error = "a = ".parse::<toml::Table>().expect_err("not TOML");
        assert!(!given.shown().contains("hunter2"));
        assert!(!misfit("live", &field, given, &error).to_string().contains("hunter2"));
    }

    #[test]
    fn text_takes_the_kind_of_the_default() {
        let check = |default: &'static str, text: &str, expected: &str| {
            let field = Field { key: "k", default, kind: "", doc: "" };
            assert_eq!(from_text(&field, text).to_string(), expected, "{default} {text}");
        };
        check("\"a\"", "8080", "\"8080\"");
        check("1", "8080", "8080");
        check("1", "many", "\"many\"");
        check("true", "false", "false");
        check("[]", "a, b", "[\"a\", \"b\"]");
        check("[1]", "[2, 3]", "[2, 3]");
        check("[1]", "2,3", "[2, 3]");
    }
}
