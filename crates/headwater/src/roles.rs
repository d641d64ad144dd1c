//! What one process of a platform does. On one machine, everything; on several, each a part.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// A role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Takes live streams, makes their ladders and delivers them.
    Live,
    /// Delivers assets under `/vod`.
    Origin,
    /// Answers `/api/v1`: people's requests, uploads, and workers.
    Api,
    /// Looks after jobs: lost leases, retries, clean-up, watch folders, webhooks. Of several, one at a time is at work.
    Manager,
    /// Does the steps of jobs in this process.
    Worker,
}

impl Role {
    /// Every role, in the order of a film's way.
    pub const ALL: [Self; 5] = [Self::Live, Self::Origin, Self::Api, Self::Manager, Self::Worker];

    /// The word in settings and flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Origin => "origin",
            Self::Api => "api",
            Self::Manager => "manager",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let all = Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|role| role.as_str() == word);
        found.ok_or_else(|| format!("{word:?} is not a role: the roles are all, {all}"))
    }
}

/// The roles of a process: a list of words, or `all`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Roles(Vec<Role>);

impl Roles {
    /// Whether the process plays `role`.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether any of `roles` is played.
    pub fn any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|&role| self.has(role))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(","))
    }
}

impl TryFrom<Vec<String>> for Roles {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        let mut roles = Vec::new();
        for word in words {
            match word.as_str() {
                "all" => roles.extend(Role::ALL),
                word => roles.push(word.parse()?),
            }
        }
        roles.sort_unstable();
        roles.dedup();
        if roles.is_empty() {
            Err("a process needs a role: write [\"all\"] or some of them".to_owned())
        } else {
            Ok(Self(roles))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_roles_in_one_order_and_once() {
        let check = |words: &[&str], expected: &str| {
            let roles = Roles::try_from(words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
            assert_eq!(roles.map(|roles| roles.to_string()).unwrap_or_else(|error| error), expected, "{words:?}");
        };
        check(&["all"], "live,origin,api,manager,worker");
        check(&["api", "manager", "api"], "api,manager");
        check(&["all", "worker"], "live,origin,api,manager,worker");
        check(&[], "a process needs a role: write [\"all\"] or some of them");
        check(&["mananger"], "\"mananger\" is not a role: the roles are all, live, origin, api, manager, worker");
    }
}
