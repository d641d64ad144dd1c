use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The specification says SHOULD, or a rule of this platform is broken.
    Warning,
    /// The specification says MUST.
    Error,
}

/// One thing a linter looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name: `part-over-target`.
    pub id: &'static str,
    /// Where it stands: `RFC 8216bis 4.4.4.9`.
    pub clause: &'static str,
    /// How bad it is when it is broken.
    pub severity: Severity,
    /// What holds when it is kept.
    pub about: &'static str,
}

/// A rule broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// [`Rule::id`].
    pub rule: &'static str,
    /// [`Rule::clause`].
    pub clause: &'static str,
    /// [`Rule::severity`].
    pub severity: Severity,
    /// The playlist or manifest.
    pub uri: String,
    /// Line in it, from 1; 0 for the whole.
    pub line: usize,
    /// What was found, with the values.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}:{}: {} [{}, {}]", self.uri, self.line, self.text, self.rule, self.clause)
    }
}

/// Collects the findings of one document.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) uri: String,
    pub(crate) list: Vec<Finding>,
}

impl Findings {
    pub(crate) fn new(uri: &str) -> Self {
        Self { uri: uri.into(), list: Vec::new() }
    }

    pub(crate) fn add(&mut self, rule: Rule, line: usize, text: impl Into<String>) {
        let Rule { id, clause, severity, .. } = rule;
        self.list.push(Finding { rule: id, clause, severity, uri: self.uri.clone(), line, text: text.into() });
    }

    /// Adds a finding when `kept` is false.
    pub(crate) fn check(&mut self, kept: bool, rule: Rule, line: usize, text: impl FnOnce() -> String) {
        if !kept {
            self.add(rule, line, text());
        }
    }
}

/// Declares rules as constants and lists them in `RULES`.
macro_rules! rules {
    ($prefix:literal; $( $name:ident = $id:literal, $clause:literal, $severity:ident, $about:literal; )*) => {
        $( pub(crate) const $name: Rule = Rule {
            id: $id,
            clause: concat!($prefix, $clause),
            severity: Severity::$severity,
            about: $about,
        }; )*
        /// Every rule, in the order of the specification's clauses.
        pub const RULES: &[Rule] = &[ $( $name, )* ];
    };
}
pub(crate) use rules;
