//! Names of rows: a typed prefix and a UUIDv7 in lower-case base32, so that they sort by creation.

use std::{fmt, str::FromStr};

use data_encoding::BASE32HEX_NOPAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// A text that is no id of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no {kind} id: expected {prefix}_ and 26 characters of 0-9 and a-v")]
pub struct InvalidId {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

const ENCODED_CHARS: usize = 26;

fn fresh(prefix: &str) -> String {
    format!("{prefix}_{}", BASE32HEX_NOPAD.encode(Uuid::now_v7().as_bytes()).to_ascii_lowercase())
}

fn valid(text: &str, prefix: &str) -> bool {
    let encoded = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    encoded.is_some_and(|encoded| {
        encoded.len() == ENCODED_CHARS && encoded.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'v'))
    })
}

macro_rules! ids {
    ($( $(#[doc = $doc:literal])* $name:ident = $prefix:literal, $kind:literal; )*) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new one, later than every one before in this process's clock.
            #[expect(clippy::new_without_default, reason = "every call gives another id")]
            pub fn new() -> Self {
                Self(fresh($prefix))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                if valid(&text, $prefix) { Ok(Self(text)) } else { Err(InvalidId { text, kind: $kind, prefix: $prefix }) }
            }
        }

        impl From<&$name> for crate::catalogue::engine::Arg {
            fn from(id: &$name) -> Self {
                Self::Text(id.0.clone())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    )* };
}

ids! {
    /// An asset.
    AssetId = "ast", "asset";
    /// A job: one run of a recipe over an asset.
    JobId = "job", "job";
    /// A step of a job: the unit of lease.
    StepId = "stp", "step";
    /// An upload.
    UploadId = "upl", "upload";
    /// A worker process.
    WorkerId = "wrk", "worker";
    /// A webhook endpoint.
    WebhookId = "whk", "webhook";
    /// An attempt to deliver an event to a webhook endpoint.
    DeliveryId = "dlv", "delivery";
    /// An access token's public name.
    TokenId = "tok", "token";
    /// A user.
    UserId = "usr", "user";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_sorts_by_creation() {
        let (first, second) = (AssetId::new(), AssetId::new());

        assert_eq!(first.as_str().parse(), Ok(first.clone()));
        assert!(first < second);
    }

    #[test]
    fn other_texts_are_refused() {
        let asset = AssetId::new().to_string();
        for text in ["", "ast", "ast_", "../../etc", &asset.to_uppercase(), &format!("{asset}0"), &format!("a{asset}")]
        {
            assert!(text.parse::<AssetId>().is_err(), "{text}");
        }
        assert!(asset.parse::<JobId>().is_err());
    }
}
