//! The job core, rule by rule.
