//! Profiles of destinations, as settings and recipes name them.

use std::path::PathBuf;

use base::Secret;
use serde::Deserialize;
use url::Url;

use super::{TransferError, bucket::Bucket, folder::Folder, ftp, remote::Remote, sftp::Sftp, web::Web};

/// Where files are delivered. Written in settings as a table with `protocol` and its fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "protocol", rename_all = "lowercase", deny_unknown_fields)]
pub enum Destination {
    /// A folder of the worker's machine, such as a mounted share.
    Folder {
        /// Absolute path.
        path: PathBuf,
        /// How what arrived is checked.
        #[serde(default)]
        verify: Verify,
    },
    /// A bucket of an S3 service.
    S3 {
        /// The bucket.
        bucket: String,
        /// URL of the service; Amazon's without it.
        #[serde(default)]
        endpoint: String,
        /// Region.
        #[serde(default = "default_region")]
        region: String,
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret: Secret,
        /// Folder in the bucket.
        #[serde(default)]
        prefix: String,
        /// How what arrived is checked.
        #[serde(default)]
        verify: Verify,
    },
    /// An FTP server, in passive mode.
    Ftp {
        /// Name or address.
        host: String,
        /// Port.
        #[serde(default = "default_ftp_port")]
        port: u16,
        /// User.
        user: String,
        /// Password.
        password: Secret,
        /// Folder there.
        #[serde(default)]
        path: String,
        /// Encryption: `none`, or `explicit` (AUTH TLS, RFC 4217).
        #[serde(default)]
        tls: Tls,
        /// PEM of a certificate authority to trust beside the system's.
        #[serde(default)]
        ca: Option<String>,
        /// How what arrived is checked.
        #[serde(default)]
        verify: Verify,
    },
    /// An SSH server with SFTP.
    Sftp {
        /// Name or address.
        host: String,
        /// Port.
        #[serde(default = "default_ssh_port")]
        port: u16,
        /// User.
        user: String,
        /// Password; a key instead is better.
        #[serde(default)]
        password: Option<Secret>,
        /// Private key in OpenSSH or PEM form.
        #[serde(default)]
        private_key: Option<Secret>,
        /// Fingerprint of the server's key, `SHA256:...`, as `ssh-keygen -lf` prints it.
        host_key: String,
        /// Folder there.
        #[serde(default)]
        path: String,
        /// How what arrived is checked.
        #[serde(default)]
        verify: Verify,
    },
    /// A server that takes `PUT`.
    Http {
        /// Folder: files are put below it.
        url: Url,
        /// Header fields, such as `Authorization`.
        #[serde(default)]
        headers: Vec<(String, Secret)>,
        /// How what arrived is checked.
        #[serde(default)]
        verify: Verify,
    },
}

/// How what arrived is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// It is read back and hashed.
    #[default]
    Hash,
    /// Its size is asked for: for destinations that cannot be read, or far ones.
    Size,
}

/// Encryption of FTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// None: password and film are readable on the way.
    #[default]
    None,
    /// `AUTH TLS` before the login, data connections too.
    Explicit,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

const fn default_ftp_port() -> u16 {
    21
}

const fn default_ssh_port() -> u16 {
    22
}

impl Destination {
    /// Reads a profile as settings have it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_value(profile: serde_json::Value) -> Result<Self, TransferError> {
        serde_json::from_value(profile).map_err(|error| TransferError::Profile(error.to_string()))
    }

    /// How what arrived is checked.
    pub fn verify(&self) -> Verify {
        match self {
            Self::Folder { verify, .. }
            | Self::S3 { verify, .. }
            | Self::Ftp { verify, .. }
            | Self::Sftp { verify, .. }
            | Self::Http { verify, .. } => *verify,
        }
    }

    /// Where `path` is, without credentials.
    pub fn location(&self, path: &str) -> String {
        let below = |folder: &str| match folder.trim_matches('/') {
            "" => path.to_owned(),
            folder => format!("{folder}/{path}"),
        };
        match self {
            Self::Folder { path: folder, .. } => format!("file://{}", folder.join(path).display()),
            Self::S3 { bucket, prefix, .. } => format!("s3://{bucket}/{}", below(prefix)),
            Self::Ftp { host, port, path: folder, tls, .. } => {
                let scheme = if *tls == Tls::None { "ftp" } else { "ftps" };
                format!("{scheme}://{host}:{port}/{}", below(folder))
            }
            Self::Sftp { host, port, path: folder, .. } => format!("sftp://{host}:{port}/{}", below(folder)),
            Self::Http { url, .. } => {
                let mut url = url.clone();
                let _ = url.set_password(None);
                let _ = url.set_username("");
                url.set_query(None);
                format!("{}/{path}", url.as_str().trim_end_matches('/'))
            }
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Remote>, TransferError> {
        Ok(match self {
            Self::Folder { path, .. } => Box::new(Folder::new(path)?),
            Self::S3 { bucket, endpoint, region, access_key_id, secret, prefix, .. } => {
                Box::new(Bucket::new(store::S3Settings {
                    bucket: bucket.clone(),
                    endpoint: endpoint.clone(),
                    region: region.clone(),
                    access_key_id: access_key_id.clone(),
                    secret: secret.clone(),
                    prefix: prefix.clone(),
                })?)
            }
            Self::Ftp { host, port, user, password, path, tls, ca, .. } => {
                let login = ftp::Login {
                    host,
                    port: *port,
                    user,
                    password: password.reveal(),
                    folder: path,
                    ca: ca.as_deref(),
                };
                ftp::connect(&login, *tls, &[]).await?
            }
            Self::Sftp { host, port, user, password, private_key, host_key, path, .. } => {
                let login = super::sftp::Login {
                    host,
                    port: *port,
                    user,
                    password: password.as_ref().map(Secret::reveal),
                    private_key: private_key.as_ref().map(Secret::reveal),
                    host_key: Some(host_key),
                    folder: path,
                };
                Box::new(Sftp::connect(&login, &[]).await?)
            }
            Self::Http { url, headers, .. } => Box::new(Web::new(url, headers)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn profiles_are_read_and_never_show_their_secrets() {
        let profile = json!({ "protocol": "ftp", "host": "ftp.example.org", "user": "tv", "password": "hunter2", "path": "/films/" });
        let destination = Destination::from_value(profile).expect("it has what FTP needs");

        assert!(!format!("{destination:?}").contains("hunter2"));
        assert_eq!(destination.location("a/v720.mp4"), "ftp://ftp.example.org:21/films/a/v720.mp4");
        assert_eq!(destination.verify(), Verify::Hash);
    }

    #[test]
    fn a_location_has_no_credentials() {
        let profile = json!({ "protocol": "http", "url": "https://tv:secret@cdn.example.org/in/?key=secret" });
        let destination = Destination::from_value(profile).expect("a URL is enough");

        assert_eq!(destination.location("a.mp4"), "https://cdn.example.org/in/a.mp4");
    }

    #[test]
    fn a_wrong_profile_says_what_is_wrong() {
        let check = |profile: serde_json::Value, part: &str| {
            let error = Destination::from_value(profile).expect_err("it is wrong").to_string();
            assert!(error.contains(part), "{error}");
        };
        check(json!({ "protocol": "gopher" }), "gopher");
        check(json!({ "protocol": "ftp", "user": "tv", "password": "x" }), "host");
        check(json!({ "protocol": "folder", "path": "/x", "pth": "/y" }), "pth");
    }
}
