//! Recipes: data under a name, in versions that never change.

use serde_json::Value;

use super::super::{engine::*, op::op, *};
use crate::Error;

impl Catalogue {
    /// A recipe of this version, or the newest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recipe(&self, name: &str, version: Option<i64>) -> Result<Option<RecipeRow>> {
        self.read(op!(name, version; |tx| find(tx, name, *version))).await
    }

    /// The newest version of every recipe, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recipes(&self) -> Result<Vec<RecipeRow>> {
        self.read(op!(; |tx| newest(tx))).await
    }

    /// Stores a recipe: the newest version when that has the same body, else the next version.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_recipe(&self, name: &str, body: &Value) -> Result<RecipeRow> {
        self.write(op!(name, body; |tx| put(tx, name, body))).await
    }
}

async fn put(tx: &mut Tx<'_>, name: &str, body: &Value) -> Result<RecipeRow> {
    let version = match find(tx, name, None).await? {
        Some(row) if row.body == *body => return Ok(row),
        Some(row) => row.id.version + 1,
        None => 1,
    };
    let args = args![name, version, body, tx.now()];
    let sql = "INSERT INTO recipes (name, version, body, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    if tx.execute(sql, args).await? == 0 {
        // Somebody else took the number just now: the next run sees theirs.
        return Err(Error::Collision { why: format!("the recipe {name:?} is being stored by another, too") });
    }
    let id = RecipeRef { name: name.to_owned(), version };
    Ok(RecipeRow { id, body: body.clone(), created: tx.now() })
}

async fn find(tx: &mut Tx<'_>, name: &str, version: Option<i64>) -> Result<Option<RecipeRow>> {
    let sql = "SELECT name, version, body, created FROM recipes WHERE name = $1 AND (version = $2 OR $2 IS NULL) \
               ORDER BY version DESC LIMIT 1";
    let found = tx.row(sql, args![name, version]).await?;
    found.as_ref().map(recipe).transpose()
}

async fn newest(tx: &mut Tx<'_>) -> Result<Vec<RecipeRow>> {
    let sql = "SELECT name, version, body, created FROM recipes r \
               WHERE version = (SELECT MAX(version) FROM recipes n WHERE n.name = r.name) ORDER BY name";
    tx.rows(sql, args![]).await?.iter().map(recipe).collect()
}

fn recipe(row: &Row) -> Result<RecipeRow> {
    Ok(RecipeRow {
        id: RecipeRef { name: row.text("name")?, version: row.int("version")? },
        body: row.json("body")?,
        created: row.wall("created")?,
    })
}
