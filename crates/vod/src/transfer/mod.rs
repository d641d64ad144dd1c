//! Files to other storages and from them: folders, buckets, FTP(S), SFTP, HTTP.
//!
//! A file arrives under another name, is checked by size and SHA-256 where the destination lets it be read back, and takes its
//! name by one rename; a broken transfer goes on where it stood. Start from [`deliver`] and [`fetch`].

mod bucket;
mod destination;
mod fetch;
mod folder;
mod ftp;
mod remote;
mod sftp;
mod web;

pub use destination::{Destination, Tls, Verify};
pub use fetch::{Fetched, fetch};
pub use remote::{ByteStream, Payload};

use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use remote::Remote;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// How a file came to its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its size.
    pub bytes: u64,
    /// Bytes that were there from a broken transfer and were not sent again.
    pub resumed_bytes: u64,
    /// The same file was there already; nothing was sent.
    pub unchanged: bool,
    /// Where it is: a URL without credentials.
    pub location: String,
}

/// Why a file did not arrive.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The profile cannot be used.
    #[error("the destination's profile cannot be used: {0}")]
    Profile(String),
    /// A path that leaves the destination's folder.
    #[error("{0:?} is no path below the destination's folder: use names and single slashes")]
    Path(String),
    /// User, password, key or host key were refused.
    #[error("{host} refused the login: {reason}; check user, password or key in the destination's profile")]
    Login {
        /// Which server.
        host: String,
        /// As it said.
        reason: String,
    },
    /// The server refused an operation for good.
    #[error("the destination refused to {what}: {reason}")]
    Refused {
        /// `write film.mp4`, ...
        what: String,
        /// As it said.
        reason: String,
    },
    /// No room there.
    #[error("the destination is full: {0}; make room there and retry the step")]
    Full(String),
    /// A connection could not be made, or broke.
    #[error("the connection to {host} failed: {reason}")]
    Connection {
        /// Which server.
        host: String,
        /// Why.
        reason: String,
    },
    /// What arrived is not what was sent.
    #[error("{path} arrived damaged ({reason}); it was removed there")]
    Damaged {
        /// Which file.
        path: String,
        /// Sizes or hashes.
        reason: String,
    },
    /// The file's own bytes could not be read.
    #[error("the file to transfer cannot be read: {0}")]
    Source(#[source] std::io::Error),
}

impl TransferError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Damaged { .. } | Self::Source(_))
    }
}

/// Brings `payload` to `path` below the destination's folder, in place of what was there. `on_bytes` hears how many bytes are there.
///
/// # Errors
/// [`TransferError`]; a broken transfer leaves its beginning at the destination, from which the next call goes on.
pub async fn deliver(
    destination: &Destination,
    payload: &dyn Payload,
    path: &str,
    on_bytes: &(dyn Fn(u64) + Send + Sync),
) -> Result<Delivered, TransferError> {
    let path = checked(path)?;
    let sha256 = match payload.sha256() {
        Some(known) => known.to_owned(),
        None => hash(payload.open(0).await.map_err(TransferError::Source)?).await.map_err(TransferError::Source)?.1,
    };
    let mut remote = destination.connect().await?;
    let delivery = Delivery { payload, path, sha256, verify: destination.verify() };
    let (resumed_bytes, unchanged) = delivery.run(remote.as_mut(), on_bytes).await?;
    remote.close().await;
    Ok(Delivered { bytes: payload.bytes(), resumed_bytes, unchanged, location: destination.location(path) })
}

struct Delivery<'a> {
    payload: &'a dyn Payload,
    path: &'a str,
    sha256: String,
    verify: Verify,
}

impl Delivery<'_> {
    /// Bytes that were not sent again, and whether the file was there already.
    async fn run(
        &self,
        remote: &mut dyn Remote,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(u64, bool), TransferError> {
        let bytes = self.payload.bytes();
        // Without reading it back nothing says that an old file of the same size is the same.
        if self.verify == Verify::Hash
            && remote.size(self.path).await? == Some(bytes)
            && self.is_whole(remote, self.path).await?
        {
            on_bytes(bytes);
            return Ok((bytes, true));
        }
        if let Some((folder, _)) = self.path.rsplit_once('/') {
            remote.make_folders(folder).await?;
        }
        if !remote.renames() {
            self.send(remote, self.path, 0, on_bytes).await?;
            return Ok((0, false));
        }
        // The name says what it will be: another version of the file does not go on in this one's beginning.
        let part = part_name(self.path, &self.sha256);
        let there = remote.size(&part).await?.unwrap_or(0);
        let offset = if there <= bytes { there } else { 0 };
        match self.send(remote, &part, offset, on_bytes).await {
            Err(TransferError::Damaged { .. }) if offset > 0 => self.send(remote, &part, 0, on_bytes).await?,
            sent => sent?,
        }
        remote.rename(&part, self.path).await?;
        Ok((offset, false))
    }

    /// Sends from `offset` on and checks what is there then; removes it when it is something else.
    async fn send(
        &self,
        remote: &mut dyn Remote,
        path: &str,
        offset: u64,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransferError> {
        let bytes = self.payload.bytes();
        if offset < bytes || bytes == 0 {
            let stream = self.payload.open(offset).await.map_err(TransferError::Source)?;
            remote.write(path, offset, bytes, stream, on_bytes).await?;
        }
        let there = remote.size(path).await?;
        let reason = match there {
            Some(there) if there != bytes => format!("{there} bytes instead of {bytes}"),
            None => "it is not there".to_owned(),
            Some(_) if self.verify == Verify::Size || self.is_whole(remote, path).await? => return Ok(()),
            Some(_) => "its hash differs".to_owned(),
        };
        remote.remove(path).await?;
        Err(TransferError::Damaged { path: self.path.to_owned(), reason })
    }

    async fn is_whole(&self, remote: &mut dyn Remote, path: &str) -> Result<bool, TransferError> {
        let (bytes, sha256) = remote.digest(path).await?;
        Ok(bytes == self.payload.bytes() && sha256 == self.sha256)
    }
}

/// Names and single slashes: nothing that climbs out of the folder, nothing a server reads as a command.
fn checked(path: &str) -> Result<&str, TransferError> {
    let name = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control);
    let whole = path.len() <= PATH_BYTES_MAX && !path.contains('\\') && path.split('/').all(name);
    if whole { Ok(path) } else { Err(TransferError::Path(path.chars().take(80).collect())) }
}

/// Longest path below a destination's folder: what usual file systems and FTP servers take.
const PATH_BYTES_MAX: usize = 512;

fn part_name(path: &str, sha256: &str) -> String {
    let version = sha256.get(..12).unwrap_or(sha256);
    match path.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/.{name}.{version}.part"),
        None => format!(".{path}.{version}.part"),
    }
}

/// Bytes and SHA-256 of a stream.
async fn hash(mut stream: ByteStream) -> std::io::Result<(u64, String)> {
    let (mut bytes, mut digest) = (0, Sha256::new());
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        digest.update(&piece);
    }
    Ok((bytes, HEXLOWER.encode(&digest.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_folder() {
        for path in ["a", "a/b.mp4", "films/ü b.mp4", "a..b"] {
            assert_eq!(checked(path).expect(path), path);
        }
        for path in ["", "/a", "a/", "a//b", "..", "a/../b", ".", "a\\b", "a\r\nDELE b", &"a".repeat(600)] {
            assert!(checked(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_part_is_hidden_beside_its_file_and_named_by_content() {
        assert_eq!(part_name("films/a.mp4", "0123456789abcdef"), "films/.a.mp4.0123456789ab.part");
        assert_eq!(part_name("a.mp4", "0123456789abcdef"), ".a.mp4.0123456789ab.part");
    }
}
