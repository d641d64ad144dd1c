//! Sources that are not reached by HTTP: `ftp`, `ftps` (explicit), `sftp` and `s3` URLs.

use std::net::SocketAddr;

use base::Secret;
use store::S3Settings;
use url::Url;

use super::{
    ByteStream, Tls, TransferError,
    bucket::Bucket,
    ftp::{self},
    remote::Remote,
    sftp::{self, Sftp},
};
use crate::protocol::Credentials;

/// An open source.
pub struct Fetched {
    /// The last part of the URL's path.
    pub file_name: String,
    /// Size of the whole file.
    pub bytes: u64,
    /// Its bytes from the asked offset on. It lives as long as the connection, which is within.
    pub stream: ByteStream,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fetched({:?}, {} bytes)", self.file_name, self.bytes)
    }
}

/// Opens a source from `offset` on. `addresses` are those that the URL's host may be reached at.
///
/// # Errors
/// [`TransferError`]; an unknown scheme is a [`TransferError::Profile`].
pub async fn fetch(
    url: &Url,
    auth: Option<&Credentials>,
    addresses: &[SocketAddr],
    offset: u64,
) -> Result<Fetched, TransferError> {
    let user = auth.and_then(|auth| auth.user.as_deref());
    let password = auth.and_then(|auth| auth.password.as_deref());
    let path = decoded(url.path().trim_start_matches('/'))?;
    let host = url.host_str().ok_or_else(|| TransferError::Profile("the URL names no host".to_owned()))?;
    let mut remote: Box<dyn Remote> = match url.scheme() {
        scheme @ ("ftp" | "ftps") => {
            let login = ftp::Login {
                host,
                port: url.port().unwrap_or(21),
                // RFC 1635: what servers without accounts expect.
                user: user.unwrap_or("anonymous"),
                password: password.unwrap_or("anonymous@"),
                folder: "",
                ca: None,
            };
            ftp::connect(&login, if scheme == "ftp" { Tls::None } else { Tls::Explicit }, addresses).await?
        }
        "sftp" => {
            let user = user.ok_or_else(|| TransferError::Profile("an sftp source needs a user".to_owned()))?;
            let is_key = password.is_some_and(|text| text.starts_with("-----BEGIN"));
            let login = sftp::Login {
                host,
                port: url.port().unwrap_or(22),
                user,
                password: password.filter(|_| !is_key),
                private_key: password.filter(|_| is_key),
                host_key: None,
                folder: "",
            };
            Box::new(Sftp::connect(&login, addresses).await?)
        }
        "s3" => Box::new(Bucket::new(bucket_of(url, host, user, password))?),
        other => return Err(TransferError::Profile(format!("{other:?} sources cannot be fetched"))),
    };
    let path = if url.scheme() == "sftp" { format!("/{path}") } else { path };
    let missing =
        || TransferError::Refused { what: format!("read {path}"), reason: "there is no such file".to_owned() };
    let bytes = remote.size(&path).await?.ok_or_else(missing)?;
    let stream = remote.read(&path, offset).await?;
    let file_name = path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Fetched { file_name, bytes, stream: kept(stream, remote) })
}

/// `s3://BUCKET/KEY?endpoint=URL&region=NAME`.
fn bucket_of(url: &Url, bucket: &str, user: Option<&str>, password: Option<&str>) -> S3Settings {
    let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    S3Settings {
        bucket: bucket.to_owned(),
        endpoint: parameter("endpoint").unwrap_or_default(),
        region: parameter("region").unwrap_or_else(|| "us-east-1".to_owned()),
        access_key_id: user.unwrap_or_default().to_owned(),
        secret: Secret::new(password.unwrap_or_default()),
        prefix: String::new(),
    }
}

fn decoded(path: &str) -> Result<String, TransferError> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(match byte {
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or(b'?'),
                _ => return Err(TransferError::Path(path.to_owned())),
            },
            byte => byte,
        });
    }
    let decoded = String::from_utf8(bytes).map_err(|_| TransferError::Path(path.to_owned()))?;
    super::checked(&decoded).map(str::to_owned)
}

/// A stream that holds its connection.
fn kept(stream: ByteStream, remote: Box<dyn Remote>) -> ByteStream {
    use futures_util::{StreamExt, stream};
    stream::unfold((stream, remote), |(mut stream, remote)| async move {
        stream.next().await.map(|piece| (piece, (stream, remote)))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_and_stay_names() {
        assert_eq!(decoded("films/a%20b.mp4").expect("it is one"), "films/a b.mp4");
        for path in ["a%2", "a%zz", "%2e%2e/x", "a%0d%0ab", "%ff"] {
            assert!(decoded(path).is_err(), "{path}");
        }
    }
}
