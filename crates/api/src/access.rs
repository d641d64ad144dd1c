//! What a request needs: one table for every route, so that one that is forgotten here is closed to readers and workers.

use http::Method;
use store::catalogue::{Principal, Scope};

use crate::problem::Problem;

/// What the principal of a request must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Anyone with a good token.
    Known,
    /// Someone with this scope; rows of other tenants stay invisible.
    Scope(Scope),
    /// An administrator of every tenant: what it changes is everybody's.
    Platform,
}

/// The need of a request by its method and its path below `/api/v1/`.
pub(crate) fn need(method: &Method, path: &str) -> Need {
    let looks = matches!(*method, Method::GET | Method::HEAD);
    let resource = path.split(['/', ':']).next().unwrap_or_default();
    match resource {
        "whoami" if looks => Need::Known,
        "worker" => Need::Scope(Scope::Worker),
        "tokens" | "users" => Need::Scope(Scope::Admin),
        "maintenance" => Need::Platform,
        "workers" | "recipes" | "destinations"
            if !(looks || path.ends_with(":validate") || path.ends_with(":dry-run")) =>
        {
            Need::Platform
        }
        "recipes" => Need::Scope(Scope::Read),
        _ if looks => Need::Scope(Scope::Read),
        _ => Need::Scope(Scope::Write),
    }
}

impl Need {
    /// # Errors
    /// 403 when the principal is not what is needed.
    pub(crate) fn check(self, principal: &Principal) -> Result<(), Problem> {
        let (met, scope) = match self {
            Self::Known => (true, Scope::Read),
            Self::Scope(scope) => (principal.may(scope), scope),
            Self::Platform => (principal.may(Scope::Admin) && principal.tenant.is_none(), Scope::Admin),
        };
        if met {
            return Ok(());
        }
        let of = if self == Self::Platform { " of every tenant" } else { "" };
        Err(Problem::forbidden(
            format!("This request needs the scope {scope}{of}; the token has {}.", words(&principal.scopes)),
            "Use a token with that scope; an administrator makes one with `headwater token create --scope`.",
        ))
    }
}

fn words(scopes: &[Scope]) -> String {
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_has_its_need() {
        let check =
            |method: Method, path: &str, expected: Need| assert_eq!(need(&method, path), expected, "{method} {path}");
        let scope = Need::Scope;
        check(Method::GET, "assets", scope(Scope::Read));
        check(Method::POST, "assets", scope(Scope::Write));
        check(Method::POST, "assets/ast_1:reencode", scope(Scope::Write));
        check(Method::HEAD, "uploads/upl_1", scope(Scope::Read));
        check(Method::PATCH, "uploads/upl_1", scope(Scope::Write));
        check(Method::GET, "recipes/default", scope(Scope::Read));
        check(Method::PUT, "recipes/default", Need::Platform);
        check(Method::POST, "recipes:validate", scope(Scope::Read));
        check(Method::POST, "recipes/default:dry-run", scope(Scope::Read));
        check(Method::PUT, "destinations/nas", Need::Platform);
        check(Method::GET, "workers", scope(Scope::Read));
        check(Method::POST, "workers/n1:cordon", Need::Platform);
        check(Method::POST, "worker/claim", scope(Scope::Worker));
        check(Method::GET, "worker/steps/stp_1/source", scope(Scope::Worker));
        check(Method::GET, "tokens", scope(Scope::Admin));
        check(Method::GET, "users", scope(Scope::Admin));
        check(Method::POST, "maintenance:gc", Need::Platform);
        check(Method::GET, "whoami", Need::Known);
        check(Method::POST, "whatever", scope(Scope::Write));
        check(Method::DELETE, "", scope(Scope::Write));
    }

    #[test]
    fn a_tenants_administrator_is_not_the_platforms() {
        let principal = |tenant: Option<&str>, scopes: &[Scope]| Principal {
            name: "tok".into(),
            scopes: scopes.to_vec(),
            tenant: tenant.map(Into::into),
        };
        assert!(Need::Platform.check(&principal(None, &[Scope::Admin])).is_ok());
        assert!(Need::Platform.check(&principal(Some("a"), &[Scope::Admin])).is_err());
        assert!(Need::Scope(Scope::Worker).check(&principal(None, &[Scope::Admin])).is_err());
        assert!(Need::Known.check(&principal(None, &[])).is_ok());
    }
}
