//! Get the source from where it is: in parts, each stored as an object of its own while the next one comes.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufWriter};
use url::Url;

use super::{
    super::{
        failure::{self, Result},
        guard::Guard,
        publish::Ready,
        task::Task,
    },
    remote::{Remote, Want},
};
use crate::protocol::{Credentials, ObjectRef, Output};

/// Longest file name that is passed on, in bytes: what usual file systems take, with room for an ending.
const FILE_NAME_BYTES_MAX: usize = 200;
/// Written to disk at a time, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// What to fetch.
#[derive(Clone, Debug)]
pub(super) struct Order<'a> {
    pub(super) url: &'a str,
    pub(super) file_name: &'a str,
    pub(super) bytes_max: u64,
    pub(super) part_bytes: u64,
    pub(super) private_addresses: bool,
    pub(super) auth: Option<&'a Credentials>,
}

pub(super) async fn fetch(task: &Task, order: &Order<'_>) -> Result<Output> {
    let scheme = Url::parse(order.url).map(|url| url.scheme().to_owned()).unwrap_or_default();
    if matches!(scheme.as_str(), "ftp" | "ftps" | "sftp" | "s3") {
        return super::transfer::fetch(task, order).await;
    }
    let want = Want { url: order.url, bytes_max: order.bytes_max, auth: order.auth };
    let mut remote = Remote::open(&want, Guard::new(order.private_addresses), task.cancelled()).await?;
    let mut parts = resume(task, order, &mut remote).await?;
    let mut spooled: Option<Spooled> = None;
    loop {
        // One part is stored while the next one comes.
        let number = parts.len() + usize::from(spooled.is_some()) + 1;
        let store = async { if let Some(part) = &spooled { part.store(task).await.map(Some) } else { Ok(None) } };
        let (stored, next) = tokio::try_join!(store, spool(task, order, &mut remote, number))?;
        parts.extend(stored);
        spooled = next;
        if spooled.is_none() {
            break;
        }
    }
    if remote.position() == 0 {
        return Err(failure::input("empty", "The source's file is empty; check the address."));
    }
    let file_name = file_name(remote.file_name(), order.file_name);
    Ok(Output::Fetched { file_name, parts, bytes: remote.position(), sha256: remote.sha256() })
}

/// A part on the worker's disk.
struct Spooled {
    name: String,
    path: PathBuf,
    ready: Ready,
}

impl Spooled {
    async fn store(&self, task: &Task) -> Result<ObjectRef> {
        let object = task.put(&self.name, &self.ready).await?;
        tokio::fs::remove_file(&self.path).await.map_err(|error| failure::disk(&error))?;
        Ok(object)
    }
}

/// Part `number`, from 1; with the fingerprint of the file's version, so that a later attempt knows what it may go on with.
fn part_name(number: usize, remote: &Remote) -> String {
    match remote.fingerprint() {
        Some(fingerprint) => format!("{number:06}-{fingerprint}"),
        None => format!("{number:06}"),
    }
}

/// The next part; `None` at the end of the file.
async fn spool(task: &Task, order: &Order<'_>, remote: &mut Remote, number: usize) -> Result<Option<Spooled>> {
    let path = task.folder().join(format!("part-{number}"));
    let disk = |error: std::io::Error| failure::disk(&error);
    let mut file = BufWriter::with_capacity(WRITE_BYTES, tokio::fs::File::create(&path).await.map_err(disk)?);
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while bytes < order.part_bytes {
        let left = usize::try_from(order.part_bytes - bytes).unwrap_or(usize::MAX);
        let Some(piece) = remote.next_up_to(left).await? else { break };
        hash.update(&piece);
        bytes += piece.len() as u64;
        file.write_all(&piece).await.map_err(disk)?;
        // Without a size nobody knows how far it is; bytes move all the same.
        task.report_bytes(remote.position(), remote.total().unwrap_or(u64::MAX), 0, 1_000);
    }
    file.flush().await.map_err(disk)?;
    let ready = Ready::hashed(path.clone(), bytes, hash);
    Ok((bytes > 0).then(|| Spooled { name: part_name(number, remote), path, ready }))
}

/// Parts that an earlier attempt stored of the same version of the file: read back for their hashes, and gone on behind.
async fn resume(task: &Task, order: &Order<'_>, remote: &mut Remote) -> Result<Vec<ObjectRef>> {
    let (mut parts, mut hash, mut bytes) = (Vec::new(), Sha256::new(), 0);
    if remote.fingerprint().is_none() {
        return Ok(parts);
    }
    while let Some(stored) = stored_part(task, order, &part_name(parts.len() + 1, remote)) {
        let mut reader = task.read_stored(stored).await?;
        let mut part = Sha256::new();
        while let Some(piece) = reader.next().await? {
            part.update(&piece);
            hash.update(&piece);
        }
        let sha256 = data_encoding::HEXLOWER.encode(&part.finalize());
        bytes += stored.bytes;
        parts.push(ObjectRef { sha256, ..stored.clone() });
    }
    if !parts.is_empty() {
        tracing::info!(parts = parts.len(), bytes, "going on behind the parts of an earlier attempt");
        remote.skip_to(bytes, hash);
    }
    Ok(parts)
}

/// Whole parts alone: the last one may have been cut short with its transfer.
fn stored_part<'a>(task: &'a Task, order: &Order<'_>, name: &str) -> Option<&'a ObjectRef> {
    task.leased().stored.iter().find(|object| object.name() == name && object.bytes == order.part_bytes)
}

/// What the server called the file, else what the asset's maker did; without what makes a path of it.
pub(super) fn file_name(remote: Option<&str>, given: &str) -> String {
    let clean = |name: &str| -> String {
        let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let mut bytes = 0;
        let fits = |c: &char| {
            bytes += c.len_utf8();
            bytes <= FILE_NAME_BYTES_MAX
        };
        last.chars().filter(|c| !c.is_control()).take_while(fits).collect()
    };
    let names = [given, remote.unwrap_or_default(), "source"].map(clean);
    names.into_iter().find(|name| !name.is_empty() && !name.starts_with('.')).unwrap_or_else(|| "source".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        let check = |remote: Option<&str>, given: &str, expected: &str| assert_eq!(file_name(remote, given), expected);
        check(Some("film.mov"), "", "film.mov");
        check(Some("film.mov"), "mine.mov", "mine.mov");
        check(Some("../../etc/passwd"), "", "passwd");
        check(Some("a\\b\\c.mp4"), "", "c.mp4");
        check(Some(".."), "", "source");
        check(Some("a\nb.mp4"), "", "ab.mp4");
        check(None, "", "source");
        check(Some(&"ü".repeat(300)), "", &"ü".repeat(100));
    }
}
