//! An RTMP client on a loopback socket.

use std::net::SocketAddr;

use base::Mono;
use bytes::BytesMut;
use media::{
    TrackKind,
    flv::{self, Unit},
};
use protocols::rtmp::{
    ClientAction, ClientConfig, ClientEvent, ClientOutput, ClientSession, Error, MediaKind, amf, chunk,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{node::DEADLINE, tape::Frame};

pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    session: ClientSession,
    buffer: Vec<u8>,
}

/// What a player saw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) kind: MediaKind,
    pub(crate) timestamp_ms: i64,
    pub(crate) body: bytes::Bytes,
}

impl Seen {
    /// A keyframe's coded frame, H.264 in the old form.
    pub(crate) fn is_keyframe(&self) -> bool {
        self.kind == MediaKind::Video && self.body.starts_with(&[0x17, 1])
    }

    pub(crate) fn is_header(&self) -> bool {
        self.body.get(1) == Some(&0)
    }
}

impl Peer {
    /// Connects and asks; the server's refusal, if it refuses.
    pub(crate) async fn try_connect(
        address: SocketAddr,
        action: ClientAction,
        app: &str,
        name: &str,
    ) -> Result<Self, Error> {
        let config = ClientConfig::new(action, format!("rtmp://{address}/{app}"), app, name);
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut peer = Self { socket, session: ClientSession::new(config, Mono::ZERO), buffer: vec![0; 256 * 1024] };
        loop {
            match peer.event().await? {
                Some(ClientEvent::Ready) => return Ok(peer),
                Some(_) => {}
                None => panic!("the server closed without a word"),
            }
        }
    }

    pub(crate) async fn publish(address: SocketAddr, app: &str, name: &str) -> Self {
        Self::try_connect(address, ClientAction::Publish, app, name).await.unwrap()
    }

    pub(crate) async fn play(address: SocketAddr, app: &str, name: &str) -> Self {
        Self::try_connect(address, ClientAction::Play, app, name).await.unwrap()
    }

    /// What the server refuses with.
    pub(crate) async fn refused(address: SocketAddr, action: ClientAction, app: &str, name: &str) -> (String, String) {
        match Self::try_connect(address, action, app, name).await {
            Err(Error::Refused { code, description }) => (code, description),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{app}/{name} was accepted"),
        }
    }

    /// The next event; `None` at the end of the connection.
    pub(crate) async fn event(&mut self) -> Result<Option<ClientEvent>, Error> {
        let work = async {
            loop {
                match self.session.poll_output() {
                    ClientOutput::Transmit(bytes) => {
                        // A server that has said its last word need not read on.
                        let _ = self.socket.write_all(&bytes).await;
                    }
                    ClientOutput::Event(event) => return Ok(Some(event)),
                    ClientOutput::Timeout(_) => {
                        let Ok(count) = self.socket.read(&mut self.buffer).await else { return Ok(None) };
                        if count == 0 {
                            return Ok(None);
                        }
                        self.session.handle_input(Mono::ZERO, &self.buffer[..count])?;
                    }
                }
            }
        };
        tokio::time::timeout(DEADLINE, work).await.expect("the server has something to say in time")
    }

    /// The next event that is there already.
    pub(crate) async fn event_now(&mut self) -> Option<ClientEvent> {
        tokio::time::timeout(std::time::Duration::from_millis(1), self.event()).await.ok()?.unwrap()
    }

    /// Pauses or resumes (RTMP 1.0, 7.2.2.8).
    pub(crate) async fn pause(&mut self, pause: bool) {
        let mut body = BytesMut::new();
        let values: [amf::Value; 5] =
            ["pause".into(), 0.0.into(), amf::Value::Null, amf::Value::Boolean(pause), 0.0.into()];
        values.iter().for_each(|value| amf::write(&mut body, value));
        let mut message = BytesMut::new();
        let stream = self.session.message_stream().unwrap();
        chunk::write_message(&mut message, self.session.out_chunk_size(), 8, 0, 20, stream, &[&body]);
        self.socket.write_all(&message).await.unwrap();
    }

    /// The next audio or video message.
    pub(crate) async fn media(&mut self) -> Option<Seen> {
        loop {
            match self.event().await.unwrap()? {
                ClientEvent::Media { kind, timestamp_ms, body } => return Some(Seen { kind, timestamp_ms, body }),
                ClientEvent::Closed => return None,
                _ => {}
            }
        }
    }

    /// Audio and video up to the first message that `last` is true for.
    pub(crate) async fn media_until(&mut self, mut last: impl FnMut(&Seen) -> bool) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(message) = self.media().await {
            seen.push(message);
            if seen.last().is_some_and(&mut last) {
                return seen;
            }
        }
        panic!("the stream ended after {} messages", seen.len());
    }

    pub(crate) fn send_metadata(&mut self, values: &[(&str, amf::Value)]) {
        self.session.send_metadata(0, values);
    }

    /// Queues frames; [`Peer::flush`] sends them.
    pub(crate) fn queue(&mut self, frames: &[Frame]) {
        for frame in frames {
            let (kind, ms) = (media_kind(frame.kind), frame.ms as u32);
            match &frame.unit {
                Unit::Track { track, .. } => {
                    let header = flv::sequence_header(&track.codec).unwrap();
                    self.session.send_media(kind, ms, &header, &bytes::Bytes::new()).unwrap();
                }
                Unit::Sample { sample, .. } => {
                    let header = flv::frame_header(&frame.track, sample);
                    self.session.send_media(kind, ms, &header, &sample.payload).unwrap();
                }
                Unit::End => {}
            }
        }
    }

    /// Queues the body of a message as it is.
    pub(crate) fn queue_raw(&mut self, kind: MediaKind, ms: u32, body: &[u8]) {
        self.session.send_media(kind, ms, body, &bytes::Bytes::new()).unwrap();
    }

    /// Sends what is queued; false when the server is gone.
    pub(crate) async fn flush(&mut self) -> bool {
        while let ClientOutput::Transmit(bytes) = self.session.poll_output() {
            if self.socket.write_all(&bytes).await.is_err() {
                return false;
            }
        }
        true
    }

    pub(crate) async fn send(&mut self, frames: &[Frame]) {
        self.queue(frames);
        assert!(self.flush().await, "the server takes the frames");
    }

    /// Unpublishes, or stops playing.
    pub(crate) async fn close(mut self) {
        self.session.close();
        self.flush().await;
    }

    /// The error status that ends the connection.
    pub(crate) async fn ended_with(&mut self) -> (String, String) {
        loop {
            match self.event().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("closed without a reason"),
                Err(Error::Refused { code, description }) => return (code, description),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

fn media_kind(kind: TrackKind) -> MediaKind {
    match kind {
        TrackKind::Video => MediaKind::Video,
        TrackKind::Audio => MediaKind::Audio,
    }
}
