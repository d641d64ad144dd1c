//! Who may do what: users, tokens, and requests that are made once however often they are sent.

mod idempotency;

pub use idempotency::{IDEMPOTENCY_KEPT_MS, IN_FLIGHT_MS_MAX, Idempotency, StoredResponse};

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{engine::*, op::op, *};

impl Catalogue {
    /// Stores a new user. Creation is now.
    ///
    /// # Errors
    /// [`Conflict`](crate::Error::Conflict) when the name or id is taken, or when the database fails.
    pub async fn create_user(&self, user: &User) -> Result<()> {
        self.write(op!(user; |tx| create_user(tx, user))).await
    }

    /// Every user, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self) -> Result<Vec<User>> {
        self.read(op!(; |tx| users(tx))).await
    }

    /// The user of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, name: &str) -> Result<Option<User>> {
        self.read(op!(name; |tx| find_user(tx, name))).await
    }

    /// Removes a user and the user's tokens; false when there is none of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_user(&self, id: &UserId) -> Result<bool> {
        self.write(op!(id; |tx| delete_user(tx, id))).await
    }

    /// Stores a token, of whose `secret` (256 random bits as text) only the SHA-256 is kept: there is nothing to guess in it that a slow
    /// hash would protect. Creation is now.
    ///
    /// # Errors
    /// [`Conflict`](crate::Error::Conflict) when the id or the secret is taken or there is no such user, or when the database fails.
    pub async fn create_token(&self, token: &Token, secret: &str) -> Result<()> {
        let hash = hash(secret);
        self.write(op!(token, hash; |tx| create_token(tx, token, hash))).await
    }

    /// Who holds this secret; `None` when nobody does, or the token has ended by the database's time.
    ///
    /// A user's token may do no more than the user, and sees no other tenant. The secret is looked up by its hash: how long that takes
    /// says nothing about the secret.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Principal>> {
        let hash = hash(secret);
        self.read(op!(hash; |tx| authenticate(tx, hash))).await
    }

    /// Every token, oldest first, those that ended included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        self.read(op!(; |tx| tokens(tx))).await
    }

    /// Removes a token: its secret is worth nothing from now on. False when there is none of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_token(&self, id: &TokenId) -> Result<bool> {
        self.write(op!(id; |tx| revoke(tx, id))).await
    }
}

fn hash(secret: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(secret.as_bytes()))
}

async fn create_user(tx: &mut Tx<'_>, user: &User) -> Result<()> {
    let sql = "INSERT INTO users (id, name, scopes, tenant, created) VALUES ($1, $2, $3, $4, $5)";
    let args = args![&user.id, &user.name, &json!(user.scopes), user.tenant.as_ref(), tx.now()];
    tx.execute(sql, args).await.map(drop)
}

async fn users(tx: &mut Tx<'_>) -> Result<Vec<User>> {
    let sql = "SELECT id, name, scopes, tenant, created FROM users ORDER BY name";
    tx.rows(sql, args![]).await?.iter().map(user).collect()
}

async fn find_user(tx: &mut Tx<'_>, name: &str) -> Result<Option<User>> {
    let sql = "SELECT id, name, scopes, tenant, created FROM users WHERE name = $1";
    tx.row(sql, args![name]).await?.as_ref().map(user).transpose()
}

async fn delete_user(tx: &mut Tx<'_>, id: &UserId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM users WHERE id = $1", args![id]).await? == 1)
}

fn user(row: &Row) -> Result<User> {
    Ok(User {
        id: row.id("id")?,
        name: row.text("name")?,
        scopes: row.stored("scopes")?,
        tenant: row.opt_text("tenant")?,
        created: row.wall("created")?,
    })
}

async fn create_token(tx: &mut Tx<'_>, token: &Token, hash: &str) -> Result<()> {
    let sql = "INSERT INTO tokens (id, label, scopes, tenant, owner, hash, expires, created) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let args = args![
        &token.id,
        &token.label,
        &json!(token.scopes),
        token.tenant.as_ref(),
        token.user.as_ref(),
        hash,
        token.expires,
        tx.now(),
    ];
    tx.execute(sql, args).await.map(drop)
}

async fn authenticate(tx: &mut Tx<'_>, hash: &str) -> Result<Option<Principal>> {
    let sql = "SELECT t.id AS id, t.scopes AS scopes, t.tenant AS tenant, u.scopes AS owner_scopes, u.tenant AS owner_tenant \
               FROM tokens t LEFT JOIN users u ON u.id = t.owner WHERE t.hash = $1 AND (t.expires IS NULL OR t.expires > $2)";
    let Some(row) = tx.row(sql, args![hash, tx.now()]).await? else { return Ok(None) };
    let principal = Principal { name: row.text("id")?, scopes: row.stored("scopes")?, tenant: row.opt_text("tenant")? };
    Ok(match row.opt_stored::<Vec<Scope>>("owner_scopes")? {
        Some(scopes) => {
            let owner = Principal { name: String::new(), scopes, tenant: row.opt_text("owner_tenant")? };
            within(principal, &owner)
        }
        None => Some(principal),
    })
}

/// The principal held to what its owner may; `None` when their tenants exclude each other.
fn within(principal: Principal, owner: &Principal) -> Option<Principal> {
    let tenant = match (principal.tenant.clone(), owner.tenant.clone()) {
        (Some(own), Some(owners)) if own != owners => return None,
        (own, owners) => own.or(owners),
    };
    let both = |scope: &Scope| principal.may(*scope) && owner.may(*scope);
    let scopes = Scope::ALL.iter().copied().filter(both).collect();
    Some(Principal { scopes, tenant, ..principal })
}

async fn tokens(tx: &mut Tx<'_>) -> Result<Vec<Token>> {
    let sql = "SELECT id, label, scopes, tenant, owner, expires, created FROM tokens ORDER BY created, id";
    tx.rows(sql, args![]).await?.iter().map(token).collect()
}

fn token(row: &Row) -> Result<Token> {
    Ok(Token {
        id: row.id("id")?,
        label: row.text("label")?,
        scopes: row.stored("scopes")?,
        tenant: row.opt_text("tenant")?,
        user: row.opt_id("owner")?,
        expires: row.opt_wall("expires")?,
        created: row.wall("created")?,
    })
}

async fn revoke(tx: &mut Tx<'_>, id: &TokenId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM tokens WHERE id = $1", args![id]).await? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(scopes: &[Scope], tenant: Option<&str>) -> Principal {
        Principal { name: "tok".into(), scopes: scopes.to_vec(), tenant: tenant.map(str::to_owned) }
    }

    #[test]
    fn a_token_is_held_to_its_owner() {
        let check = |token: Principal, owner: Principal, expected: Option<(&[Scope], Option<&str>)>| {
            let expected = expected.map(|(scopes, tenant)| principal(scopes, tenant));
            assert_eq!(within(token.clone(), &owner), expected, "{token:?} of {owner:?}");
        };
        use Scope::{Admin, Read, Worker, Write};
        check(principal(&[Admin], None), principal(&[Write], None), Some((&[Write, Read], None)));
        check(principal(&[Read], None), principal(&[Admin], None), Some((&[Read], None)));
        check(principal(&[Worker], None), principal(&[Admin], None), Some((&[], None)));
        check(principal(&[Read], None), principal(&[Read], Some("a")), Some((&[Read], Some("a"))));
        check(principal(&[Read], Some("a")), principal(&[Read], None), Some((&[Read], Some("a"))));
        check(principal(&[Read], Some("a")), principal(&[Read], Some("b")), None);
    }
}
