//! The catalogue's rows as clients see them: no secrets, no object keys, no credentials; times as RFC 3339.

mod access;
mod asset;
mod job;
mod webhook;

pub(crate) use access::*;
pub(crate) use asset::*;
use base::Wall;
pub(crate) use job::*;
use store::catalogue::{AssetState, DeliveryState, ErrorClass, JobState, MediaKind, Scope, StepState, UploadState};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};
pub(crate) use webhook::*;

/// A time as clients see it: `2026-11-20T09:00:00.000Z`.
pub(crate) fn time(at: Wall) -> String {
    at.to_string()
}

pub(crate) fn maybe_time(at: Option<Wall>) -> Option<String> {
    at.map(time)
}

/// The schema of a set of words.
fn words(words: impl IntoIterator<Item = &'static str>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build().into()
}

macro_rules! word_schemas {
    ($($function:ident $words:ident;)*) => { $(
        pub(crate) fn $function() -> RefOr<Schema> {
            words($words::ALL.iter().map(|word| word.as_str()))
        }
    )* };
}

word_schemas! {
    asset_state AssetState;
    delivery_state DeliveryState;
    error_class ErrorClass;
    job_state JobState;
    media_kind MediaKind;
    scope Scope;
    step_state StepState;
    upload_state UploadState;
}

/// The schema of a list of scopes.
pub(crate) fn scopes() -> RefOr<Schema> {
    utoipa::openapi::ArrayBuilder::new().items(scope()).build().into()
}
