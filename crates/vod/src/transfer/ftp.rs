//! FTP (RFC 959, 3659) in passive mode, with `AUTH TLS` (RFC 4217) where the profile says so.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use suppaftp::{
    FtpError, Mode, Status,
    tokio::{AsyncFtpStream, AsyncRustlsConnector, AsyncRustlsFtpStream, ImplAsyncFtpStream, TokioTlsStream},
    types::FileType,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    Tls, TransferError,
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
    pub(super) password: &'a str,
    pub(super) folder: &'a str,
    /// PEM of a certificate authority beside the system's.
    pub(super) ca: Option<&'a str>,
}

struct Ftp<T: TokioTlsStream + Send> {
    control: ImplAsyncFtpStream<T>,
    host: String,
    root: String,
}

/// Connects and logs in; `addresses` are used in place of the name's when there are any.
pub(super) async fn connect(
    login: &Login<'_>,
    tls: Tls,
    addresses: &[SocketAddr],
) -> Result<Box<dyn Remote>, TransferError> {
    let socket = dial(login.host, login.port, addresses).await?;
    match tls {
        Tls::None => {
            let control = answer(login.host, AsyncFtpStream::connect_with_stream(socket)).await?;
            Ok(Box::new(Ftp::login(control, login).await?))
        }
        Tls::Explicit => {
            let control = answer(login.host, AsyncRustlsFtpStream::connect_with_stream(socket)).await?;
            let connector = AsyncRustlsConnector::from(suppaftp::tokio_rustls::TlsConnector::from(trust(login.ca)?));
            let control = answer(login.host, control.into_secure(connector, login.host)).await?;
            Ok(Box::new(Ftp::login(control, login).await?))
        }
    }
}

/// A TCP connection to a host, or to one of the addresses that were allowed for it.
pub(super) async fn dial(host: &str, port: u16, addresses: &[SocketAddr]) -> Result<TcpStream, TransferError> {
    let broken = |reason: String| TransferError::Connection { host: host.to_owned(), reason };
    let connected = if addresses.is_empty() {
        timeout(ANSWER, TcpStream::connect((host, port))).await
    } else {
        timeout(ANSWER, TcpStream::connect(addresses)).await
    };
    match connected {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(broken(error.to_string())),
        Err(_) => Err(broken(format!("no connection within {} s", ANSWER.as_secs()))),
    }
}

fn trust(ca: Option<&str>) -> Result<Arc<ClientConfig>, TransferError> {
    let wrong = |error: &dyn fmt::Display| TransferError::Profile(format!("ca: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(&error))?;
    let Some(ca) = ca else {
        let builder = builder.with_platform_verifier().map_err(|error| wrong(&error))?;
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let mut roots = RootCertStore::empty();
    for certificate in rustls_pki_types::pem::PemObject::pem_slice_iter(ca.as_bytes()) {
        let certificate: rustls_pki_types::CertificateDer<'static> =
            certificate.map_err(|error| wrong(&format!("{error:?}")))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

async fn answer<T>(host: &str, call: impl Future<Output = Result<T, FtpError>>) -> Result<T, TransferError> {
    match timeout(ANSWER, call).await {
        Ok(answered) => answered.map_err(|error| failed(host, "answer", &error)),
        Err(_) => Err(TransferError::Connection {
            host: host.to_owned(),
            reason: format!("no answer within {} s", ANSWER.as_secs()),
        }),
    }
}

fn failed(host: &str, what: &str, error: &FtpError) -> TransferError {
    match error {
        FtpError::UnexpectedResponse(response) => {
            let reason = String::from_utf8_lossy(&response.body).trim().chars().take(200).collect::<String>();
            match response.status {
                Status::NotLoggedIn => TransferError::Login { host: host.to_owned(), reason },
                Status::ExceededStorage | Status::RequestedActionNotTaken => TransferError::Full(host.to_owned()),
                // RFC 959 4.2.1: 4yz may be tried again, 5yz not.
                status if (400..500).contains(&status.code()) => {
                    TransferError::Connection { host: host.to_owned(), reason }
                }
                _ => TransferError::Refused { what: what.to_owned(), reason },
            }
        }
        error => TransferError::Connection { host: host.to_owned(), reason: error.to_string() },
    }
}

impl<T: TokioTlsStream + Send + Sync + 'static> Ftp<T>
where
    T::InnerStream: Send,
{
    async fn login(mut control: ImplAsyncFtpStream<T>, login: &Login<'_>) -> Result<Self, TransferError> {
        control.set_mode(Mode::Passive);
        // A server behind NAT names an address that is not its own, and a hostile one names somebody else's (RFC 2577): data comes from
        // where control does.
        control.set_passive_nat_workaround(true);
        let host = login.host.to_owned();
        answer(&host, control.login(login.user, login.password)).await.map_err(|error| match error {
            TransferError::Refused { reason, .. } => TransferError::Login { host: host.clone(), reason },
            error => error,
        })?;
        answer(&host, control.transfer_type(FileType::Binary)).await?;
        Ok(Self { control, host, root: login.folder.trim_end_matches('/').to_owned() })
    }

    fn path(&self, path: &str) -> String {
        if self.root.is_empty() { path.to_owned() } else { format!("{}/{path}", self.root) }
    }

    fn failed(&self, what: &str, path: &str, error: &FtpError) -> TransferError {
        failed(&self.host, &format!("{what} {path}"), error)
    }
}

impl<T: TokioTlsStream + Send + Sync + 'static> Remote for Ftp<T>
where
    T::InnerStream: Send,
{
    fn renames(&self) -> bool {
        true
    }

    fn size<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, TransferError>> {
        async move {
            let whole = self.path(path);
            match self.control.size(&whole).await {
                Ok(bytes) => Ok(Some(bytes as u64)),
                Err(FtpError::UnexpectedResponse(response)) if response.status == Status::FileUnavailable => Ok(None),
                Err(error) => Err(self.failed("look at", path, &error)),
            }
        }
        .boxed()
    }

    fn read<'a>(&'a mut self, path: &'a str, offset: u64) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move {
            let whole = self.path(path);
            if offset > 0 {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                self.control.resume_transfer(offset).await.map_err(|error| self.failed("resume", path, &error))?;
            }
            let data = self.control.retr_as_stream(&whole).await.map_err(|error| self.failed("read", path, &error))?;
            let pieces = stream::unfold(Some(data), |data| async move {
                let mut data = data?;
                let mut piece = Vec::with_capacity(READ_BYTES);
                match timeout(ANSWER, data.read_buf(&mut piece)).await {
                    Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
                    Ok(Err(error)) => Some((Err(error), None)),
                    // The server's last word says whether that was all.
                    Ok(Ok(0)) => data.finish().await.err().map(|error| (Err(io::Error::other(error)), None)),
                    Ok(Ok(_)) => Some((Ok(piece.into()), Some(data))),
                }
            });
            Ok(pieces.boxed())
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
            let whole = self.path(path);
            let opened = if offset > 0 {
                self.control.append_with_stream(&whole).await
            } else {
                self.control.put_with_stream(&whole).await
            };
            let mut data = opened.map_err(|error| self.failed("write", path, &error))?;
            let mut sent = offset;
            let broken = |reason: String| TransferError::Connection { host: self.host.clone(), reason };
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(TransferError::Source)?;
                match timeout(ANSWER, data.write_all(&piece)).await {
                    Ok(Ok(())) => {}
                    // Why it hung up is in its last word.
                    Ok(Err(error)) => {
                        return Err(match data.finish().await {
                            Err(word @ FtpError::UnexpectedResponse(_)) => self.failed("write", path, &word),
                            _ => broken(error.to_string()),
                        });
                    }
                    Err(_) => return Err(broken(format!("it took nothing for {} s", ANSWER.as_secs()))),
                }
                sent += piece.len() as u64;
                on_bytes(sent);
            }
            answer(&self.host, data.finish()).await
        }
        .boxed()
    }

    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            let (whole_from, whole_to) = (self.path(from), self.path(to));
            match self.control.rename(&whole_from, &whole_to).await {
                Ok(()) => return Ok(()),
                Err(FtpError::UnexpectedResponse(_)) => {}
                Err(error) => return Err(self.failed("rename", from, &error)),
            }
            // Some servers rename over nothing.
            self.remove(to).await?;
            self.control.rename(&whole_from, &whole_to).await.map_err(|error| self.failed("rename", from, &error))
        }
        .boxed()
    }

    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            let whole = self.path(path);
            match self.control.rm(&whole).await {
                Err(FtpError::UnexpectedResponse(response)) if response.status == Status::FileUnavailable => Ok(()),
                removed => removed.map_err(|error| self.failed("remove", path, &error)),
            }
        }
        .boxed()
    }

    fn make_folders<'a>(&'a mut self, folder: &'a str) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            for folder in folders(folder) {
                let whole = self.path(folder);
                match self.control.mkdir(&whole).await {
                    // "It exists" and "it may not be made" look alike; the write that follows tells them apart.
                    Ok(()) | Err(FtpError::UnexpectedResponse(_)) => {}
                    Err(error) => return Err(self.failed("make", folder, &error)),
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            let _ = timeout(ANSWER, self.control.quit()).await;
        }
        .boxed()
    }
}
