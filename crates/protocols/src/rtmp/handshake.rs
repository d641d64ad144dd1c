//! The handshake: simple (RTMP 1.0, 5.2) and with digests, as Flash Player 9 and later and some encoders do it.
//!
//! The digest form is not in the published specification. The first message of either side holds an HMAC-SHA256 of itself at
//! a place that four of its bytes give (in one of two schemes), and the second message answers that digest. The keys are
//! constants known to everybody: the digests prove a program's make, not anybody's identity.

use bytes::{BufMut, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{At, Error};

/// The only version spoken (RTMP 1.0, 5.2.2).
const VERSION: u8 = 3;
/// C1, S1, C2 and S2.
const PACKET_BYTES: usize = 1536;
const DIGEST_BYTES: usize = 32;
/// Versions in S1 and C1 of peers that make digests: only "not zero" matters.
const SERVER_VERSION: [u8; 4] = [4, 5, 0, 1];
const CLIENT_VERSION: [u8; 4] = [10, 0, 32, 18];

/// Second half of both keys.
const KEY_TAIL: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57, 0x6e, 0xec, 0x5d,
    0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001";
const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";

type Packet = [u8; PACKET_BYTES];
type Digest = [u8; DIGEST_BYTES];

/// Where a packet's digest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// In the first half.
    First,
    /// In the second half.
    Second,
}

/// Either side's progress.
#[derive(Debug)]
pub struct Handshake {
    role: Role,
    /// Version and first packet of the peer, as far as they have come.
    first: Vec<u8>,
    /// Bytes of the peer's second packet still to come; it proves nothing and is not looked at.
    second_left: usize,
    nonce: Nonce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

impl Handshake {
    /// The server's side. `seed` makes the nonce; it need not be secret.
    pub fn server(seed: u64) -> Self {
        Self { role: Role::Server, first: Vec::new(), second_left: PACKET_BYTES, nonce: Nonce(seed) }
    }

    /// The client's side; writes C0 and C1 to `out`, with a digest where asked.
    pub fn client(seed: u64, digest: bool, out: &mut BytesMut) -> Self {
        let mut nonce = Nonce(seed);
        let mut packet = nonce.packet([0; 4]);
        if digest {
            packet = nonce.packet(CLIENT_VERSION);
            sign(&mut packet, Scheme::First, CLIENT_KEY);
        }
        out.put_u8(VERSION);
        out.put_slice(&packet);
        Self { role: Role::Client, first: Vec::new(), second_left: PACKET_BYTES, nonce }
    }

    /// Takes bytes of the handshake from `input`, moves it past them, and writes answers to `out`. True when the handshake is
    /// done; what is left of `input` then belongs to the chunk stream. `offset_bytes` is where `input` stands, for errors.
    ///
    /// # Errors
    /// When the peer speaks another version.
    pub fn read(&mut self, input: &mut &[u8], out: &mut BytesMut, offset_bytes: u64) -> Result<bool, Error> {
        if self.first.len() < 1 + PACKET_BYTES {
            if self.first.is_empty()
                && let Some(version) = input.first().copied().filter(|version| *version != VERSION)
            {
                return Err(Error::Version { version, at: At::offset(offset_bytes) });
            }
            self.first.extend_from_slice(take(input, 1 + PACKET_BYTES - self.first.len()));
            let Some(packet) = self.first.get(1..).and_then(|packet| packet.try_into().ok()) else { return Ok(false) };
            self.answer(packet, out);
        }
        self.second_left -= take(input, self.second_left).len();
        Ok(self.second_left == 0)
    }

    fn answer(&mut self, peer: Packet, out: &mut BytesMut) {
        let (own_key, peer_key) = match self.role {
            Role::Server => (SERVER_KEY, CLIENT_KEY),
            Role::Client => (CLIENT_KEY, SERVER_KEY),
        };
        let signed = find_digest(&peer, peer_key);
        if self.role == Role::Server {
            let mut packet = self.nonce.packet(if signed.is_some() { SERVER_VERSION } else { [0; 4] });
            if let Some((scheme, _)) = signed {
                sign(&mut packet, scheme, SERVER_KEY);
            }
            out.put_u8(VERSION);
            out.put_slice(&packet);
        }
        match signed {
            Some((_, digest)) => out.put_slice(&self.response(&digest, own_key)),
            None => out.put_slice(&peer),
        }
    }

    /// S2 or C2 of the digest form: its last bytes are keyed by the peer's digest.
    fn response(&mut self, peer_digest: &Digest, own_key: &[u8]) -> Packet {
        let mut packet = self.nonce.packet([0; 4]);
        let (body, digest) = packet.split_at_mut(PACKET_BYTES - DIGEST_BYTES);
        let key = hmac(&[own_key, &KEY_TAIL].concat(), &[peer_digest]);
        digest.copy_from_slice(&hmac(&key, &[body]));
        packet
    }
}

/// The digest of a first packet, when it holds one.
fn find_digest(packet: &Packet, key: &[u8]) -> Option<(Scheme, Digest)> {
    if packet.get(4..8) == Some(&[0; 4]) {
        return None;
    }
    let find = |scheme| {
        let (before, digest, after) = parts(packet, scheme);
        let made = hmac(key, &[before, after]);
        (digest == made).then_some((scheme, made))
    };
    find(Scheme::First).or_else(|| find(Scheme::Second))
}

fn sign(packet: &mut Packet, scheme: Scheme, key: &[u8]) {
    let (before, _, after) = parts(packet, scheme);
    let offset = before.len();
    let made = hmac(key, &[before, after]);
    packet.iter_mut().skip(offset).zip(made).for_each(|(to, from)| *to = from);
}

/// What stands before the digest's place, the place, and what stands after it.
fn parts(packet: &Packet, scheme: Scheme) -> (&[u8], &[u8], &[u8]) {
    let pointer = match scheme {
        Scheme::First => 8,
        Scheme::Second => 772,
    };
    let sum: usize = packet.iter().skip(pointer).take(4).map(|byte| usize::from(*byte)).sum();
    // At most 776 + 727: the digest ends within the packet.
    let (before, rest) = packet.split_at(pointer + 4 + sum % 728);
    let (digest, after) = rest.split_at(DIGEST_BYTES);
    (before, digest, after)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    taken
}

/// Filler bytes (splitmix64): the handshake wants them to differ between connections, not to be secret.
#[derive(Debug)]
struct Nonce(u64);

impl Nonce {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A packet of filler with time 0 and a version.
    fn packet(&mut self, version: [u8; 4]) -> Packet {
        let mut packet = [0; PACKET_BYTES];
        packet.chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&self.next().to_le_bytes()));
        packet.iter_mut().zip([0; 4].into_iter().chain(version)).for_each(|(to, from)| *to = from);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs both sides against each other, `split` bytes at a time.
    fn run(digest: bool, seed: u64, split: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
        let mut client = Handshake::client(seed, digest, &mut to_server);
        let mut server = Handshake::server(seed ^ 0x55);
        let (mut sent, mut answered) = (Vec::new(), Vec::new());
        let (mut server_done, mut client_done) = (false, false);
        while !(server_done && client_done) {
            let input = to_server.split();
            sent.extend_from_slice(&input);
            for mut piece in input.chunks(split) {
                server_done = server.read(&mut piece, &mut to_client, 0).expect("the version fits");
                assert!(piece.is_empty());
            }
            let input = to_client.split();
            answered.extend_from_slice(&input);
            for mut piece in input.chunks(split) {
                client_done = client.read(&mut piece, &mut to_server, 0).expect("the version fits");
                assert!(piece.is_empty());
            }
        }
        (sent, answered)
    }

    #[test]
    fn the_simple_form_echoes_the_first_packets() {
        for split in [1, 7, 1536, 1537, 4000] {
            let (sent, answered) = run(false, 1, split);
            assert_eq!((sent.len(), answered.len()), (3073, 3073));
            assert_eq!((sent[0], answered[0]), (3, 3));
            assert_eq!(answered[1537..], sent[1..1537], "S2 echoes C1");
            assert_eq!(sent[1537..], answered[1..1537], "C2 echoes S1");
            assert_eq!(answered[5..9], [0; 4], "S1's zero field");
        }
    }

    #[test]
    fn the_digest_form_proves_both_sides() {
        for seed in 0..50 {
            let (sent, answered) = run(true, seed, 1000);
            let c1: Packet = sent[1..1537].try_into().expect("C1");
            let s1: Packet = answered[1..1537].try_into().expect("S1");
            let (_, c1_digest) = find_digest(&c1, CLIENT_KEY).expect("C1 holds a digest");
            let (scheme, s1_digest) = find_digest(&s1, SERVER_KEY).expect("S1 holds a digest");
            assert_eq!(scheme, Scheme::First);
            for (packet, digest, key) in
                [(&answered[1537..], c1_digest, SERVER_KEY), (&sent[1537..], s1_digest, CLIENT_KEY)]
            {
                let key = hmac(&[key, &KEY_TAIL].concat(), &[&digest]);
                assert_eq!(packet[1504..], hmac(&key, &[&packet[..1504]]));
            }
        }
    }

    #[test]
    fn the_second_scheme_is_answered_in_kind() {
        let mut c1 = Nonce(9).packet(CLIENT_VERSION);
        sign(&mut c1, Scheme::Second, CLIENT_KEY);
        let mut out = BytesMut::new();
        let input = [&[VERSION], &c1[..]].concat();
        assert_eq!(Handshake::server(1).read(&mut &input[..], &mut out, 0), Ok(false));
        let s1: Packet = out[1..1537].try_into().expect("S1");
        assert_eq!(find_digest(&s1, SERVER_KEY).map(|(scheme, _)| scheme), Some(Scheme::Second));
    }

    #[test]
    fn a_version_without_a_digest_gets_the_simple_form() {
        let c1 = Nonce(9).packet(CLIENT_VERSION);
        let mut out = BytesMut::new();
        let input = [&[VERSION], &c1[..]].concat();
        assert_eq!(Handshake::server(1).read(&mut &input[..], &mut out, 0), Ok(false));
        assert_eq!(out[5..9], [0; 4]);
        assert_eq!(out[1537..], c1);
    }

    #[test]
    fn bytes_after_the_handshake_are_left() {
        let input = [&[VERSION][..], &[0; 2 * PACKET_BYTES], b"chunks"].concat();
        let mut rest = &input[..];
        assert_eq!(Handshake::server(1).read(&mut rest, &mut BytesMut::new(), 0), Ok(true));
        assert_eq!(rest, b"chunks");
    }

    #[test]
    fn other_versions_are_named() {
        let check = |version: u8, text: &str| {
            let error = Handshake::server(1)
                .read(&mut &[version, 0, 0][..], &mut BytesMut::new(), 0)
                .expect_err("wrong version");
            assert!(error.to_string().contains(text), "{error}");
        };
        check(6, "RTMPE");
        check(0x16, "TLS");
        check(b'G', "HTTP");
        check(4, "version 4 is not spoken");
    }
}
