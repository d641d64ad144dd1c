//! Examines the machine and the settings: each finding says what is, and what to do when it is not right.

mod ffmpeg;
mod machine;
mod network;

use std::fmt::Write as _;

use serde::Serialize;

use crate::Settings;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with a limit that the finding names.
    Warn,
    /// Must be fixed.
    Fix,
}

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was examined: a stable, short name for scripts.
    pub check: &'static str,
    /// How serious it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fix(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fix, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Everything that was examined.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order of the examination.
    pub findings: Vec<Finding>,
}

/// Examines the machine for running with these settings. Starts nothing that stays; binds each port for a moment.
pub fn examine(settings: &Settings) -> Report {
    let mut findings = ffmpeg::examine(&settings.transcode);
    findings.extend(network::examine(settings));
    findings.extend(machine::examine(settings));
    Report { findings }
}

impl Report {
    /// Whether nothing must be fixed.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict < Verdict::Fix)
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = match finding.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Fix => "FIX ",
            };
            let _ = writeln!(text, "{mark}  {:<14} {}", finding.check, finding.found);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "{:20} -> {remedy}", "");
            }
        }
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let _ = writeln!(
            text,
            "\n{} ok, {} to know, {} to fix",
            count(Verdict::Ok),
            count(Verdict::Warn),
            count(Verdict::Fix)
        );
        text
    }

    /// For machines: one object with `healthy` and `findings`.
    pub fn to_json(&self) -> String {
        let value = serde_json::json!({"healthy": self.is_healthy(), "findings": self.findings});
        format!("{value:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_be_fixed_is_unhealthy() {
        let check = |findings: Vec<Finding>, healthy: bool| assert_eq!(Report { findings }.is_healthy(), healthy);
        check(vec![], true);
        check(vec![Finding::ok("a", "is"), Finding::warn("b", "is so so", "do this")], true);
        check(vec![Finding::ok("a", "is"), Finding::fix("b", "is not", "do that")], false);
    }

    #[test]
    fn a_remedy_stands_below_its_finding() {
        let report = Report { findings: vec![Finding::fix("disk", "full", "free some"), Finding::ok("clock", "set")] };
        let text = report.to_text();
        assert!(text.contains("FIX   disk           full\n"), "{text}");
        assert!(text.contains("-> free some\n"), "{text}");
        assert!(text.ends_with("1 ok, 0 to know, 1 to fix\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("the report is JSON");
        assert_eq!(json["findings"][0]["verdict"], "fix");
        assert_eq!(json["healthy"], false);
    }
}
