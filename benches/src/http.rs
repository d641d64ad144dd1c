//! A small HTTP/1.1 client, just enough to measure with.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::Outcome;

const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A kept connection.
pub(crate) struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> Outcome<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::new() })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Outcome<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.socket.write_all(request.as_bytes()).await?;
        timeout(TIMEOUT, self.answer()).await.map_err(|_| "no answer in time")?
    }

    async fn more(&mut self) -> Outcome<()> {
        if self.socket.read_buf(&mut self.buffer).await? == 0 {
            return Err("closed in mid-answer".into());
        }
        Ok(())
    }

    async fn answer(&mut self) -> Outcome<Answer> {
        let head_end = loop {
            match find(&self.buffer, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.more().await?,
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).to_ascii_lowercase();
        self.buffer.drain(..head_end);
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or("no status line")?;
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim);
        let body = match header("content-length") {
            Some(length) => self.take(length.parse()?).await?,
            None if header("transfer-encoding") == Some("chunked") => self.chunked().await?,
            None => Vec::new(),
        };
        Ok(Answer { status, body })
    }

    async fn take(&mut self, count: usize) -> Outcome<Vec<u8>> {
        while self.buffer.len() < count {
            self.more().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    async fn chunked(&mut self) -> Outcome<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                match find(&self.buffer, b"\r\n") {
                    Some(at) => break at,
                    None => self.more().await?,
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..line_end])?.trim(), 16)?;
            self.buffer.drain(..line_end + 2);
            let chunk = self.take(size + 2).await?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// One request on a connection of its own.
pub(crate) async fn get(port: u16, path: &str) -> Outcome<Answer> {
    Client::connect(port).await?.get(path).await
}
