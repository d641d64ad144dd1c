//! Deliver an asset's files to another storage, and get sources that are not reached by HTTP.

use std::{io, net::SocketAddr};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use super::{
    super::{
        client::Backoff,
        failure::{self, Result},
        guard::Guard,
        publish::Ready,
        read::Reader,
        task::Task,
    },
    fetch::{Order, file_name},
};
use crate::{
    protocol::{ObjectRef, Output, TransferObject},
    transfer::{self, ByteStream, Destination, Payload, TransferError},
};

/// Connections in a row that bring nothing before the step fails for now; the queue tries again later.
const TRIES_MAX: u32 = 6;
/// Written to disk at a time, in bytes.
const WRITE_BYTES: usize = 256 << 10;

// ---- to others

pub(super) async fn transfer(
    task: &Task,
    name: &str,
    destination: Option<&serde_json::Value>,
    objects: &[TransferObject],
) -> Result<Output> {
    let missing = || failure::bug("no_destination", format!("The manager sent no profile for {name}; retry the job."));
    let destination =
        Destination::from_value(destination.ok_or_else(missing)?.clone()).map_err(|error| sorted(&error))?;
    let total: u64 = objects.iter().map(|object| object.object.bytes).sum();
    let mut bytes = 0;
    for TransferObject { object, path } in objects {
        let payload = Stored { task, object };
        let before = bytes;
        let moved = |now: u64| task.report_bytes(before + now, total, 0, 1_000);
        let sending = deliver(task, &destination, &payload, path, &moved);
        let delivered = tokio::select! {
            delivered = sending => delivered?,
            () = task.cancelled().cancelled() => return Err(failure::stopped()),
        };
        bytes += delivered.bytes;
        tracing::info!(path, bytes = delivered.bytes, resumed = delivered.resumed_bytes, "delivered");
    }
    let folder = objects.first().and_then(|first| first.path.rsplit_once('/')).map_or("", |(folder, _)| folder);
    Ok(Output::Transferred { files: objects.len() as u64, bytes, location: destination.location(folder) })
}

/// Goes on after broken connections, as long as each try brings something further than the one before.
async fn deliver(
    task: &Task,
    destination: &Destination,
    payload: &Stored<'_>,
    path: &str,
    moved: &(dyn Fn(u64) + Send + Sync),
) -> Result<transfer::Delivered> {
    let mut tries = Tries::new(task.cancelled());
    loop {
        match transfer::deliver(destination, payload, path, moved).await {
            Ok(delivered) => return Ok(delivered),
            Err(error) if error.is_transient() => tries.pause(&error).await?,
            Err(error) => return Err(sorted(&error)),
        }
    }
}

/// A stored object to be delivered.
struct Stored<'a> {
    task: &'a Task,
    object: &'a ObjectRef,
}

impl Payload for Stored<'_> {
    fn bytes(&self) -> u64 {
        self.object.bytes
    }

    fn sha256(&self) -> Option<&str> {
        Some(self.object.sha256.as_str()).filter(|hash| !hash.is_empty())
    }

    fn open(&self, offset: u64) -> BoxFuture<'_, io::Result<ByteStream>> {
        async move {
            if offset >= self.object.bytes {
                return Ok(stream::empty().boxed());
            }
            let reader =
                self.task.read_from(self.object, offset).await.map_err(|error| io::Error::other(error.human))?;
            Ok(pieces(reader))
        }
        .boxed()
    }
}

fn pieces(reader: Reader) -> ByteStream {
    let next = |reader: Option<Reader>| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), Some(reader))),
            Err(error) => Some((Err(io::Error::other(error.human)), None)),
        }
    };
    stream::unfold(Some(reader), next).boxed()
}

// ---- from others

/// Gets a source that is not reached by HTTP.
pub(super) async fn fetch(task: &Task, order: &Order<'_>) -> Result<Output> {
    let mut source = Distant::open(task, order).await?;
    let mut parts: Vec<ObjectRef> = Vec::new();
    while let Some(ready) = spool(task, order, &mut source, parts.len() + 1).await? {
        parts.push(task.put(&format!("{:06}", parts.len() + 1), &ready).await?);
        let spooled = task.folder().join(format!("part-{}", parts.len()));
        tokio::fs::remove_file(spooled).await.map_err(|error| failure::disk(&error))?;
    }
    if source.position == 0 {
        return Err(failure::input("empty", "The source's file is empty; check the address."));
    }
    let sha256 = data_encoding::HEXLOWER.encode(&source.hash.finalize());
    let name = file_name(Some(&source.file_name), order.file_name);
    Ok(Output::Fetched { file_name: name, parts, bytes: source.position, sha256 })
}

/// The next part on disk; `None` at the end of the file.
async fn spool(task: &Task, order: &Order<'_>, source: &mut Distant<'_>, number: usize) -> Result<Option<Ready>> {
    let path = task.folder().join(format!("part-{number}"));
    let disk = |error: io::Error| failure::disk(&error);
    let mut file = BufWriter::with_capacity(WRITE_BYTES, tokio::fs::File::create(&path).await.map_err(disk)?);
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while bytes < order.part_bytes {
        let left = usize::try_from(order.part_bytes - bytes).unwrap_or(usize::MAX);
        let Some(piece) = source.next_up_to(left).await? else { break };
        hash.update(&piece);
        bytes += piece.len() as u64;
        file.write_all(&piece).await.map_err(disk)?;
        task.report_bytes(source.position, source.total, 0, 1_000);
    }
    file.flush().await.map_err(disk)?;
    Ok((bytes > 0).then(|| Ready::hashed(path, bytes, hash)))
}

/// A file on somebody's server: a broken transfer goes on where it broke, while the size stays the same.
struct Distant<'a> {
    task: &'a Task,
    order: &'a Order<'a>,
    url: Url,
    addresses: Vec<SocketAddr>,
    file_name: String,
    total: u64,
    stream: Option<ByteStream>,
    cut: Option<bytes::Bytes>,
    position: u64,
    hash: Sha256,
    tries: Tries<'a>,
}

impl<'a> Distant<'a> {
    async fn open(task: &'a Task, order: &'a Order<'a>) -> Result<Self> {
        let url = Url::parse(order.url).map_err(|_| {
            failure::input("bad_url", "The source's address is no URL; give one like ftp://example.org/film.mp4.")
        })?;
        let addresses = addresses(&url, &Guard::new(order.private_addresses)).await?;
        let mut source = Self {
            task,
            order,
            url,
            addresses,
            file_name: String::new(),
            total: 0,
            stream: None,
            cut: None,
            position: 0,
            hash: Sha256::new(),
            tries: Tries::new(task.cancelled()),
        };
        source.connect().await?;
        Ok(source)
    }

    async fn connect(&mut self) -> Result<()> {
        loop {
            let opening = transfer::fetch(&self.url, self.order.auth, &self.addresses, self.position);
            let opened = tokio::select! {
                opened = opening => opened,
                () = self.task.cancelled().cancelled() => return Err(failure::stopped()),
            };
            match opened {
                Ok(found) if self.position > 0 && found.bytes != self.total => {
                    return Err(failure::transient(
                        "source_changed",
                        "The source's file changed while it was fetched.",
                    ));
                }
                Ok(found) if found.bytes > self.order.bytes_max => {
                    let (is, may) = (found.bytes.div_ceil(1_000_000), self.order.bytes_max / 1_000_000);
                    let human = format!("The source has {is} MB; at most {may} MB are accepted.");
                    return Err(failure::input("too_large", human));
                }
                Ok(found) => {
                    (self.file_name, self.total) = (found.file_name, found.bytes);
                    self.stream = Some(found.stream);
                    return Ok(());
                }
                Err(error) if error.is_transient() => self.tries.pause(&error).await?,
                Err(error) => return Err(of_source(&error)),
            }
        }
    }

    async fn next_up_to(&mut self, bytes_max: usize) -> Result<Option<bytes::Bytes>> {
        let mut piece = match self.cut.take() {
            Some(piece) => piece,
            None => match self.next().await? {
                Some(piece) => piece,
                None => return Ok(None),
            },
        };
        let first = piece.split_to(piece.len().min(bytes_max));
        self.cut = Some(piece).filter(|rest| !rest.is_empty());
        Ok(Some(first))
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>> {
        while self.position < self.total {
            let Some(stream) = &mut self.stream else {
                self.connect().await?;
                continue;
            };
            let next = tokio::select! {
                next = stream.next() => next,
                () = self.task.cancelled().cancelled() => return Err(failure::stopped()),
            };
            match next {
                Some(Ok(mut piece)) => {
                    piece.truncate(usize::try_from(self.total - self.position).unwrap_or(usize::MAX));
                    self.position += piece.len() as u64;
                    self.hash.update(&piece);
                    self.tries = Tries::new(self.task.cancelled());
                    return Ok(Some(piece));
                }
                broken => {
                    self.stream = None;
                    let why = broken
                        .and_then(std::result::Result::err)
                        .map_or("it ended early".to_owned(), |error| error.to_string());
                    self.tries.pause(&why).await?;
                }
            }
        }
        Ok(None)
    }
}

/// Where the URL's host may be reached: what the guard allows, as for HTTP.
async fn addresses(url: &Url, guard: &Guard) -> Result<Vec<SocketAddr>> {
    // A bucket's name is no host; its endpoint is.
    let endpoint = url
        .query_pairs()
        .find(|(key, _)| url.scheme() == "s3" && key == "endpoint")
        .map(|(_, value)| value.into_owned());
    let judged = match (url.scheme(), endpoint) {
        ("s3", None) => return Ok(Vec::new()),
        ("s3", Some(endpoint)) => Url::parse(&endpoint).map_err(|_| {
            failure::input("bad_url", "The bucket's endpoint is no URL; give one like https://s3.example.org.")
        })?,
        _ => url.clone(),
    };
    let port = judged.port_or_known_default().unwrap_or(match judged.scheme() {
        "sftp" => 22,
        _ => 21,
    });
    let host = match judged.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => return Err(failure::input("bad_url", "The source's address names no host.")),
    };
    match guard.resolve_host(&host).await {
        Ok(found) if found.is_empty() => {
            Err(failure::transient("no_such_host", format!("{} has no address.", failure::quote(&host))))
        }
        Ok(found) => Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect()),
        Err(error) if error.is::<super::super::guard::Refused>() => {
            Err(failure::input("address_refused", format!("The source cannot be fetched: {error}.")))
        }
        Err(error) => {
            Err(failure::transient("no_such_host", format!("{} cannot be resolved: {error}.", failure::quote(&host))))
        }
    }
}

// ---- both

/// Pauses between tries that bring nothing.
struct Tries<'a> {
    given_up: &'a CancellationToken,
    count: u32,
    backoff: Backoff,
}

impl<'a> Tries<'a> {
    fn new(given_up: &'a CancellationToken) -> Self {
        Self { given_up, count: 0, backoff: Backoff::new() }
    }

    async fn pause(&mut self, why: &(dyn std::fmt::Display + Sync)) -> Result<()> {
        self.count += 1;
        if self.count >= TRIES_MAX {
            return Err(failure::transient(
                "transfer_broken",
                format!("The transfer broke off {} times: {why}.", self.count),
            ));
        }
        tokio::select! {
            () = tokio::time::sleep(self.backoff.pause()) => Ok(()),
            () = self.given_up.cancelled() => Err(failure::stopped()),
        }
    }
}

/// A delivery's error as the step's: what a person must change is the operator's profile.
fn sorted(error: &TransferError) -> store::catalogue::StepError {
    let human = format!("The transfer failed: {error}.");
    match error {
        TransferError::Full(_) => failure::capacity("destination_full", human),
        TransferError::Profile(_) | TransferError::Path(_) => failure::input("bad_destination", human),
        TransferError::Login { .. } => failure::input("login_refused", human),
        TransferError::Refused { .. } => failure::input("destination_refused", human),
        TransferError::Connection { .. } | TransferError::Damaged { .. } | TransferError::Source(_) => {
            failure::transient("transfer_broken", human)
        }
    }
}

/// A source's error as the step's.
fn of_source(error: &TransferError) -> store::catalogue::StepError {
    let human = format!("The source cannot be fetched: {error}.");
    match error {
        TransferError::Login { .. } => failure::input("login_refused", human),
        error if error.is_transient() => failure::transient("transfer_broken", human),
        _ => failure::input("no_source", human),
    }
}
