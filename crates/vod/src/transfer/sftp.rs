//! SFTP version 3 over SSH, to a server whose key is known.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use russh::{
    client,
    keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key},
};
use russh_sftp::{
    client::{SftpSession, error::Error as SftpError},
    protocol::{OpenFlags, StatusCode},
};
use tokio::{
    io::{AsyncSeekExt, AsyncWriteExt},
    time::timeout,
};
use tokio_util::io::ReaderStream;

use super::{
    TransferError,
    ftp::dial,
    remote::{ByteStream, Remote, folders},
};

/// A connection or an answer that takes longer is broken.
const ANSWER: Duration = Duration::from_secs(30);
/// Read at a time.
const READ_BYTES: usize = 256 << 10;

/// Where to log in.
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) user: &'a str,
    pub(super) password: Option<&'a str>,
    pub(super) private_key: Option<&'a str>,
    /// `SHA256:...`; `None` trusts any server, for sources that nothing secret is sent to.
    pub(super) host_key: Option<&'a str>,
    pub(super) folder: &'a str,
}

/// Knows the server's key.
struct KnownHost {
    fingerprint: Option<String>,
}

impl client::Handler for KnownHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let Some(known) = &self.fingerprint else { return Ok(true) };
        let shown = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.fingerprint(HashAlg::Sha256).to_string(),
            PublicKeyOrCertificate::Certificate(certificate) => {
                certificate.public_key().fingerprint(HashAlg::Sha256).to_string()
            }
        };
        Ok(shown == *known)
    }
}

pub(super) struct Sftp {
    session: SftpSession,
    /// Ends with it.
    _ssh: client::Handle<KnownHost>,
    host: String,
    root: String,
}

impl Sftp {
    /// Connects and logs in; `addresses` are used in place of the name's when there are any.
    pub(super) async fn connect(login: &Login<'_>, addresses: &[SocketAddr]) -> Result<Self, TransferError> {
        let host = login.host.to_owned();
        let broken = |reason: String| TransferError::Connection { host: host.clone(), reason };
        let refused = |reason: &str| TransferError::Login { host: host.clone(), reason: reason.to_owned() };
        let socket = dial(login.host, login.port, addresses).await?;
        let config = client::Config { inactivity_timeout: Some(ANSWER * 4), ..client::Config::default() };
        let handler = KnownHost { fingerprint: login.host_key.map(str::to_owned) };
        let connecting = client::connect_stream(Arc::new(config), socket, handler);
        let mut ssh = match timeout(ANSWER, connecting).await {
            Err(_) => return Err(broken(format!("no answer within {} s", ANSWER.as_secs()))),
            Ok(Err(russh::Error::UnknownKey)) => return Err(refused("its key is not the one in the profile")),
            Ok(Err(error)) => return Err(broken(error.to_string())),
            Ok(Ok(ssh)) => ssh,
        };
        let failed = |error: russh::Error| broken(error.to_string());
        let granted = match (login.private_key, login.password) {
            (Some(key), _) => {
                let key = decode_secret_key(key, None)
                    .map_err(|error| TransferError::Profile(format!("private_key: {error}")))?;
                let hash = ssh.best_supported_rsa_hash().await.map_err(failed)?.flatten();
                let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
                ssh.authenticate_publickey(login.user, key).await.map_err(failed)?
            }
            (None, Some(password)) => ssh.authenticate_password(login.user, password).await.map_err(failed)?,
            (None, None) => return Err(TransferError::Profile("sftp needs a password or a private_key".to_owned())),
        };
        if !granted.success() {
            return Err(refused("user, password or key are not accepted"));
        }
        let channel = ssh.channel_open_session().await.map_err(failed)?;
        channel.request_subsystem(true, "sftp").await.map_err(failed)?;
        let session = SftpSession::new(channel.into_stream()).await.map_err(|error| broken(error.to_string()))?;
        session.set_timeout(ANSWER.as_secs());
        let root = login.folder.trim_end_matches('/').to_owned();
        Ok(Self { session, _ssh: ssh, host: login.host.to_owned(), root })
    }

    fn path(&self, path: &str) -> String {
        if self.root.is_empty() { path.to_owned() } else { format!("{}/{path}", self.root) }
    }

    fn failed(&self, what: &str, path: &str, error: &SftpError) -> TransferError {
        match error {
            SftpError::Status(status)
                if !matches!(status.status_code, StatusCode::NoConnection | StatusCode::ConnectionLost) =>
            {
                let reason = format!("{}: {}", status.status_code, status.error_message);
                let full = ["space", "quota"].iter().any(|word| reason.to_ascii_lowercase().contains(word));
                if full {
                    TransferError::Full(self.host.clone())
                } else {
                    TransferError::Refused { what: format!("{what} {path}"), reason }
                }
            }
            error => TransferError::Connection { host: self.host.clone(), reason: error.to_string() },
        }
    }

    fn broken(&self, error: &io::Error) -> TransferError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<SftpError>()) {
            Some(inner) => self.failed("write", "the file", inner),
            None => TransferError::Connection { host: self.host.clone(), reason: error.to_string() },
        }
    }
}

fn is_missing(error: &SftpError) -> bool {
    matches!(error, SftpError::Status(status) if status.status_code == StatusCode::NoSuchFile)
}

impl Remote for Sftp {
    fn renames(&self) -> bool {
        true
    }

    fn size<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, TransferError>> {
        async move {
            match self.session.metadata(self.path(path)).await {
                Ok(meta) => Ok(meta.size),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(self.failed("look at", path, &error)),
            }
        }
        .boxed()
    }

    fn read<'a>(&'a mut self, path: &'a str, offset: u64) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move {
            let opened = self.session.open(self.path(path)).await;
            let mut file = opened.map_err(|error| self.failed("read", path, &error))?;
            file.seek(io::SeekFrom::Start(offset)).await.map_err(|error| self.broken(&error))?;
            Ok(ReaderStream::with_capacity(file, READ_BYTES).boxed())
        }
        .boxed()
    }

    fn write<'a>(
        &'a mut self,
        path: &'a str,
        offset: u64,
        _bytes: u64,
        mut stream: ByteStream,
        on_bytes: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            let begin = if offset > 0 { OpenFlags::empty() } else { OpenFlags::TRUNCATE };
            let flags = OpenFlags::CREATE | OpenFlags::WRITE | begin;
            let opened = self.session.open_with_flags(self.path(path), flags).await;
            let mut file = opened.map_err(|error| self.failed("write", path, &error))?;
            file.seek(io::SeekFrom::Start(offset)).await.map_err(|error| self.broken(&error))?;
            let mut sent = offset;
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(TransferError::Source)?;
                file.write_all(&piece).await.map_err(|error| self.broken(&error))?;
                sent += piece.len() as u64;
                on_bytes(sent);
            }
            file.flush().await.map_err(|error| self.broken(&error))?;
            // Servers without fsync@openssh.com have no way to be asked for it.
            let _ = file.sync_all().await;
            file.shutdown().await.map_err(|error| self.broken(&error))
        }
        .boxed()
    }

    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            let (whole_from, whole_to) = (self.path(from), self.path(to));
            match self.session.rename(whole_from.clone(), whole_to.clone()).await {
                Ok(()) => return Ok(()),
                Err(SftpError::Status(_)) => {}
                Err(error) => return Err(self.failed("rename", from, &error)),
            }
            // Version 3 renames over nothing.
            self.remove(to).await?;
            self.session.rename(whole_from, whole_to).await.map_err(|error| self.failed("rename", from, &error))
        }
        .boxed()
    }

    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            match self.session.remove_file(self.path(path)).await {
                Err(error) if is_missing(&error) => Ok(()),
                removed => removed.map_err(|error| self.failed("remove", path, &error)),
            }
        }
        .boxed()
    }

    fn make_folders<'a>(&'a mut self, folder: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            for folder in folders(folder) {
                match self.session.create_dir(self.path(folder)).await {
                    // "It exists" and "it may not be made" look alike; the write that follows tells them apart.
                    Ok(()) | Err(SftpError::Status(_)) => {}
                    Err(error) => return Err(self.failed("make", folder, &error)),
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            let _ = timeout(ANSWER, self.session.close()).await;
        }
        .boxed()
    }
}
