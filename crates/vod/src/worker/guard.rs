//! Where a fetch may go. A URL comes from a user, but the request leaves from inside the operator's network: what only that network
//! can reach must not be reachable through us (server-side request forgery).
//!
//! The name is resolved once, its addresses are judged, and the connection uses exactly those addresses: a name that answers
//! differently the second time gains nothing. Every redirect is judged again.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use url::{Host, Url};

/// Why a URL is not fetched.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Not http or https.
    #[error("{0:?} URLs cannot be fetched; give one that begins with http:// or https://")]
    Scheme(String),
    /// No host.
    #[error("the URL names no host; give one like https://example.org/film.mp4")]
    Host,
    /// The address is one that only this network can reach.
    #[error(
        "{host} is {reason} ({address}), which is not fetched; use a public address, or ask the operator to allow private addresses"
    )]
    Address {
        /// As the URL has it.
        host: String,
        /// What it stands for.
        address: IpAddr,
        /// The range it is in.
        reason: &'static str,
    },
}

/// Names to addresses.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of `host`.
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Judges URLs and addresses. Cheap to clone; it is the resolver of the client that fetches.
#[derive(Clone)]
pub struct Guard {
    private: bool,
    lookup: Arc<dyn Lookup>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("private", &self.private).finish_non_exhaustive()
    }
}

impl Guard {
    /// Public addresses only, or with `private` also loopback and private networks. Link-local addresses, where clouds answer
    /// with credentials, multicast and reserved ranges stay refused.
    pub fn new(private: bool) -> Self {
        Self::with_lookup(private, Arc::new(SystemLookup))
    }

    /// With another resolver.
    pub fn with_lookup(private: bool, lookup: Arc<dyn Lookup>) -> Self {
        Self { private, lookup }
    }

    /// Judges what can be judged before a name is resolved: the scheme, and a host that is an address in any notation.
    ///
    /// # Errors
    /// [`Refused`], for the user.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().chars().take(20).collect()));
        }
        match url.host() {
            None => Err(Refused::Host),
            Some(Host::Domain(_)) => Ok(()),
            Some(Host::Ipv4(address)) => self.check_address(&address.to_string(), address.into()),
            Some(Host::Ipv6(address)) => self.check_address(&address.to_string(), address.into()),
        }
    }

    /// The addresses of `host` that may be connected to.
    ///
    /// # Errors
    /// [`Refused`] when there are addresses and none is allowed; the resolver's.
    pub async fn resolve_host(&self, host: &str) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in self.lookup.lookup(host).await? {
            match self.check_address(host, address) {
                Ok(()) => allowed.push(address),
                Err(reason) => refused = Some(reason),
            }
        }
        match refused {
            Some(reason) if allowed.is_empty() => Err(reason.into()),
            _ => Ok(allowed),
        }
    }

    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        match range(address) {
            Range::Public => Ok(()),
            Range::Private(_) if self.private => Ok(()),
            Range::Private(reason) | Range::Never(reason) => {
                Err(Refused::Address { host: host.chars().take(255).collect(), address, reason })
            }
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.resolve_host(name.as_str()).await?;
            // Port 0 stands for the URL's.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Public,
    /// Allowed when the operator allows it.
    Private(&'static str),
    Never(&'static str),
}

/// By the registries of special-purpose addresses (RFC 6890 and its updates).
fn range(address: IpAddr) -> Range {
    match address {
        IpAddr::V4(address) => range_v4(address),
        IpAddr::V6(address) => range_v6(address),
    }
}

fn range_v4(address: Ipv4Addr) -> Range {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Range::Private("this machine itself"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Range::Private("an address of a private network"),
        (100, 64..=127, _) => Range::Private("an address behind a carrier's NAT"),
        (169, 254, _) => Range::Never("a link-local address"),
        (0, ..) => Range::Never("an unspecified address"),
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) => Range::Never("a reserved address"),
        (198, 18..=19, _) => Range::Never("an address for benchmarks"),
        (224..=239, ..) => Range::Never("a multicast address"),
        (240.., ..) => Range::Never("a reserved address"),
        _ => Range::Public,
    }
}

fn range_v6(address: Ipv6Addr) -> Range {
    let s = address.segments();
    let embedded = |high: u16, low: u16| range_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Range::Never("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Range::Private("this machine itself"),
        // IPv4-mapped, IPv4-compatible, translated (RFC 6052, RFC 2765) and 6to4: the IPv4 address inside decides.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0xfc00..=0xfdff, ..] => Range::Private("an address of a private network"),
        [0xfe80..=0xfebf, ..] => Range::Never("a link-local address"),
        [0xff00..=0xffff, ..] => Range::Never("a multicast address"),
        [0x2001, 0 | 0xdb8, ..] | [0x2001, 0x2..=0x1ff, ..] => Range::Never("a reserved address"),
        // Global unicast is 2000::/3 (RFC 4291 2.4); the rest is nobody's yet.
        [0x2000..=0x3fff, ..] => Range::Public,
        _ => Range::Never("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_only_this_network_reaches_are_refused() {
        let check = |host: &str, public: bool, private: bool| {
            let url = Url::parse(&format!("http://{host}/film.mp4")).unwrap();
            assert_eq!(Guard::new(false).check(&url).is_ok(), public, "{host} from outside");
            assert_eq!(Guard::new(true).check(&url).is_ok(), private, "{host} with private addresses allowed");
        };
        for host in
            ["8.8.8.8", "93.184.216.34:8080", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.167.1.1"]
        {
            check(host, true, true);
        }
        for host in ["[2606:2800:220:1::1]", "[::ffff:8.8.8.8]", "[64:ff9b::808:808]", "[2002:808:808::1]"] {
            check(host, true, true);
        }
        for host in ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "10.0.0.1", "172.16.0.1"] {
            check(host, false, true);
        }
        for host in ["172.31.255.255", "192.168.0.1", "100.64.0.1", "[::1]", "[fd00::1]", "[fc00::1]"] {
            check(host, false, true);
        }
        for host in ["[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::1]"]
        {
            check(host, false, true);
        }
        for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0", "0", "[::]", "224.0.0.1"] {
            check(host, false, false);
        }
        for host in
            ["239.1.1.1", "[ff02::1]", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "[2001:db8::1]"]
        {
            check(host, false, false);
        }
        for host in ["[2001::1]", "[100::1]", "[4000::1]", "[64:ff9b:1::1]", "[fec0::1]"] {
            check(host, false, false);
        }
    }

    #[test]
    fn only_http_is_fetched() {
        for text in ["file:///etc/passwd", "ftp://example.org/a", "gopher://example.org/", "data:,x", "concat:a|b"] {
            let url = Url::parse(text).unwrap();
            assert!(matches!(Guard::new(true).check(&url), Err(Refused::Scheme(_))), "{text}");
        }
    }

    struct Fixed(Vec<IpAddr>);

    impl Lookup for Fixed {
        fn lookup<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            Box::pin(async { Ok(self.0.clone()) })
        }
    }

    #[tokio::test]
    async fn names_are_judged_by_their_addresses() {
        let resolve = async |addresses: &[&str], private: bool| {
            let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let guard = Guard::with_lookup(private, Arc::new(Fixed(addresses)));
            let resolved = guard.resolve_host("film.example").await;
            resolved.map(|addresses| addresses.len()).map_err(|error| error.downcast::<Refused>().is_ok())
        };
        assert_eq!(resolve(&["8.8.8.8"], false).await, Ok(1));
        assert_eq!(resolve(&["127.0.0.1"], false).await, Err(true));
        assert_eq!(resolve(&["127.0.0.1"], true).await, Ok(1));
        assert_eq!(resolve(&["169.254.169.254", "::ffff:10.1.2.3"], false).await, Err(true));
        assert_eq!(resolve(&["10.0.0.1", "8.8.8.8"], false).await, Ok(1));
        assert_eq!(resolve(&[], false).await, Ok(0));
    }
}
