//! Secrets of jobs: credentials of sources and profiles of destinations. They are kept beside assets and recipes, and reach a
//! worker with the lease that needs them, never in a row that is shown.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use store::catalogue::AssetId;
use url::Url;

use super::{Manager, ManagerError};
use crate::{protocol::Credentials, recipe::Recipe, transfer::Destination};

/// Setting with all profiles, by name.
const DESTINATIONS: &str = "vod/destinations";
/// Schemes that a fetch understands.
const SCHEMES: [&str; 6] = ["http", "https", "ftp", "ftps", "sftp", "s3"];
/// Most profiles of destinations.
const DESTINATIONS_MAX: usize = 1_000;
/// Longest URL, in bytes: what usual servers take.
const URL_BYTES_MAX: usize = 8_000;

/// A URL that can be fetched, without the user and password that it may have had.
pub(super) fn without_credentials(text: &str) -> Result<(String, Option<Credentials>), ManagerError> {
    // What stands before an @ or behind a ? may be secret.
    let shown = || match text.split_once(':') {
        Some((scheme, _)) if text.contains(['@', '?']) => {
            format!("{}:...", scheme.chars().take(20).collect::<String>())
        }
        _ => text.chars().take(100).collect(),
    };
    let refuse = |why: &str| ManagerError::Url { url: shown(), why: why.to_owned() };
    if text.len() > URL_BYTES_MAX {
        return Err(refuse("it is too long"));
    }
    let mut url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err(refuse("its scheme is not supported"));
    }
    if !url.has_host() {
        return Err(refuse("it names no host"));
    }
    let decoded = |text: &str| percent_decoded(text);
    let user = Some(url.username()).filter(|user| !user.is_empty()).map(decoded);
    let password = url.password().map(decoded);
    let found = user.is_some() || password.is_some();
    if found && (url.set_username("").is_err() || url.set_password(None).is_err()) {
        return Err(refuse("its user cannot be taken out"));
    }
    url.set_fragment(None);
    let credentials = found.then(|| Credentials { user, password, headers: Vec::new() });
    Ok((url.into(), credentials))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let (b'%', Some(byte)) = (first, hex) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn credentials_key(asset: &AssetId) -> String {
    format!("vod/credentials/{asset}")
}

impl Manager {
    pub(super) async fn keep_credentials(&self, asset: &AssetId, auth: &Credentials) -> Result<(), ManagerError> {
        let value = serde_json::to_value(auth).expect("credentials have text keys alone");
        Ok(self.catalogue().set_setting(&credentials_key(asset), &value).await?)
    }

    pub(super) async fn credentials(&self, asset: &AssetId) -> Result<Option<Credentials>, ManagerError> {
        let value = self.catalogue().setting(&credentials_key(asset)).await?;
        Ok(value.and_then(|value| Credentials::deserialize(value).ok()))
    }

    /// Forgets the credentials of an asset's source, if there are any.
    pub(super) async fn forget_credentials(&self, asset: &AssetId) -> Result<(), ManagerError> {
        if self.catalogue().setting(&credentials_key(asset)).await?.is_some_and(|value| !value.is_null()) {
            self.catalogue().set_setting(&credentials_key(asset), &Value::Null).await?;
        }
        Ok(())
    }

    /// Names of the destinations with their protocols.
    ///
    /// # Errors
    /// The catalogue's.
    pub async fn destinations(&self) -> Result<BTreeMap<String, String>, ManagerError> {
        let protocol = |value: &Value| value.get("protocol").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(self.profiles().await?.iter().map(|(name, value)| (name.clone(), protocol(value))).collect())
    }

    /// Stores the profile of a destination, secrets included; `None` forgets it.
    ///
    /// # Errors
    /// [`ManagerError::Destination`] when it is none, or the catalogue's.
    pub async fn put_destination(&self, name: &str, profile: Option<&Value>) -> Result<(), ManagerError> {
        let refuse =
            |why: &str| ManagerError::Destination { name: name.chars().take(80).collect(), why: why.to_owned() };
        if !Recipe::valid_name(name) {
            return Err(refuse("use lower-case letters, digits, - and _ for its name"));
        }
        if let Some(profile) = profile {
            Destination::deserialize(profile).map_err(|error| refuse(&error.to_string()))?;
        }
        let mut profiles = self.profiles().await?;
        match profile {
            Some(profile) => profiles.insert(name.to_owned(), profile.clone()),
            None => profiles.remove(name),
        };
        if profiles.len() > DESTINATIONS_MAX {
            return Err(refuse("there are too many; delete some first"));
        }
        Ok(self.catalogue().set_setting(DESTINATIONS, &json!(profiles)).await?)
    }

    /// The profile of a destination as it was stored.
    pub(super) async fn profile(&self, name: &str) -> Result<Option<Value>, ManagerError> {
        Ok(self.profiles().await?.remove(name))
    }

    async fn profiles(&self) -> Result<BTreeMap<String, Value>, ManagerError> {
        let value = self.catalogue().setting(DESTINATIONS).await?.unwrap_or_default();
        Ok(BTreeMap::deserialize(value).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_url() {
        let (url, found) = without_credentials("ftp://me:s%40crt@host/a%20b.mp4#x").unwrap();
        assert_eq!(url, "ftp://host/a%20b.mp4");
        let found = found.unwrap();
        assert_eq!((found.user.as_deref(), found.password.as_deref()), (Some("me"), Some("s@crt")));
        assert_eq!(without_credentials("https://host/a?sig=1").unwrap(), ("https://host/a?sig=1".to_owned(), None));
    }

    #[test]
    fn what_cannot_be_fetched_is_refused_without_showing_secrets() {
        for text in ["file:///etc/passwd", "gopher://host/", "nonsense", "http://", "concat:a|b"] {
            assert!(without_credentials(text).is_err(), "{text}");
        }
        let error = without_credentials("rtmp://me:secret@host/").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("rtmp"), "{error}");
    }
}
