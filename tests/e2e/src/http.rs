//! A plain HTTP/1.1 client over a socket: nothing is followed, decoded or retried.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(40);

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, names in lower case.
    pub head: String,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{}:", name.to_ascii_lowercase());
        self.head.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::trim)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET on a connection of its own.
///
/// # Errors
/// When the connection fails or the answer is not HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    raw(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// Sends these bytes and reads one answer, to the end of the connection or of its body.
///
/// # Errors
/// When the connection fails or the answer is not HTTP.
pub fn raw(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.write_all(request)?;
    let mut bytes = Vec::new();
    // A server that refuses may reset the connection behind its answer.
    let ended = socket.read_to_end(&mut bytes);
    parse(&bytes)
        .ok_or_else(|| ended.err().unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer")))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.lines();
    let first = lines.next()?;
    let status = first.split(' ').nth(1)?.parse().ok()?;
    let lower = |line: &str| match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    };
    let head = std::iter::once(first.to_owned()).chain(lines.map(lower)).collect::<Vec<_>>().join("\n");
    let mut answer = Answer { status, head, body: bytes[end + 4..].to_vec() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = unchunk(&answer.body)?;
    }
    Some(answer)
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}
