use serde::Serialize;
use store::catalogue::{self, Principal, Scope};
use utoipa::ToSchema;

use super::{maybe_time, scopes, time};

/// An access token without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    /// Its id.
    id: String,
    /// Label for people.
    label: String,
    /// What it may do.
    #[schema(schema_with = scopes)]
    scopes: Vec<Scope>,
    /// Whose assets; `null` is every tenant's.
    tenant: Option<String>,
    /// The user it belongs to.
    user: Option<String>,
    /// When it ends.
    #[schema(format = DateTime)]
    expires: Option<String>,
    /// Creation.
    #[schema(format = DateTime)]
    created: String,
}

impl From<catalogue::Token> for Token {
    fn from(token: catalogue::Token) -> Self {
        Self {
            id: token.id.into(),
            label: token.label,
            scopes: token.scopes,
            tenant: token.tenant,
            user: token.user.map(Into::into),
            expires: maybe_time(token.expires),
            created: time(token.created),
        }
    }
}

/// A new access token with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenWithSecret {
    /// The token.
    #[serde(flatten)]
    pub(crate) token: Token,
    /// What goes behind `Authorization: Bearer`; `null` when this answer is given again.
    pub(crate) secret: Option<String>,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct User {
    /// Its id.
    id: String,
    /// Unique name.
    name: String,
    /// What their tokens may have at most.
    #[schema(schema_with = scopes)]
    scopes: Vec<Scope>,
    /// Tenant; `null` is every tenant.
    tenant: Option<String>,
    /// Creation.
    #[schema(format = DateTime)]
    created: String,
}

impl From<catalogue::User> for User {
    fn from(user: catalogue::User) -> Self {
        Self {
            id: user.id.into(),
            name: user.name,
            scopes: user.scopes,
            tenant: user.tenant,
            created: time(user.created),
        }
    }
}

/// Who the server takes the caller for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Caller {
    /// The token's id, or `loopback`.
    name: String,
    /// What it may do.
    #[schema(schema_with = scopes)]
    scopes: Vec<Scope>,
    /// Its tenant; `null` is every tenant's.
    tenant: Option<String>,
}

impl From<Principal> for Caller {
    fn from(principal: Principal) -> Self {
        let Principal { name, scopes, tenant } = principal;
        Self { name, scopes, tenant }
    }
}
