//! The resources of the API: one module each, handlers declared with what the document says of them.

pub(crate) mod assets;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod platform;
pub(crate) mod recipes;
pub(crate) mod tokens;
pub(crate) mod uploads;
pub(crate) mod users;
pub(crate) mod webhooks;
pub(crate) mod workers;

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{page::Asked, problem::Problem, service::Shared};

/// What every handler works with.
pub(crate) type Context = State<Arc<Shared>>;

/// The query of a listing without filters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Rows per page, 1 to 100; 50 when left out.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    fn asked(self) -> Result<Asked, Problem> {
        Asked::read(self.limit, self.cursor)
    }
}
