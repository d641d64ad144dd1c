//! What a person reads when the platform is up: where to watch, publish and operate.

use std::{fmt::Write as _, net::SocketAddr};

/// The addresses in use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    /// Viewers.
    pub http: Option<SocketAddr>,
    /// Publishers.
    pub rtmp: Option<SocketAddr>,
    /// Operators.
    pub ops: Option<SocketAddr>,
}

/// The block of addresses.
pub fn text(addresses: &Addresses, demo: bool) -> String {
    let mut text = format!("\nHeadwater {} is running.\n\n", env!("CARGO_PKG_VERSION"));
    let mut line = |what: &str, says: String| {
        let _ = writeln!(text, "  {what:<9} {says}");
    };
    if let Some(http) = addresses.http {
        let extra = if demo { "   (the colour-bar channel is on air within seconds)" } else { "" };
        line("Watch", format!("http://{}/app{extra}", authority(http, 80)));
    }
    if let Some(rtmp) = addresses.rtmp {
        line(
            "Publish",
            format!("rtmp://{}/live   (any stream name, from this machine without a key)", authority(rtmp, 1935)),
        );
    }
    if let Some(ops) = addresses.ops {
        line("Operate", format!("http://{0}/metrics   http://{0}/readyz", authority(ops, 80)));
    }
    text += "\n  Ctrl-C stops it.\n\n";
    text
}

/// `host:port` as a person on this machine types it: localhost for an address of every interface, no port when it is
/// the scheme's own.
pub fn authority(address: SocketAddr, default_port: u16) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    if address.port() == default_port { host } else { format!("{host}:{}", address.port()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_a_person_types_them() {
        let check = |address: &str, port: u16, expected: &str| {
            assert_eq!(authority(address.parse().expect("an address"), port), expected);
        };
        check("0.0.0.0:8080", 80, "localhost:8080");
        check("[::]:1935", 1935, "localhost");
        check("192.0.2.7:1936", 1935, "192.0.2.7:1936");
        check("[2001:db8::1]:80", 80, "[2001:db8::1]");
    }

    #[test]
    fn the_block_says_where_to_go() {
        let at = |text: &str| Some(text.parse().expect("an address"));
        let addresses = Addresses { http: at("0.0.0.0:8080"), rtmp: at("0.0.0.0:1935"), ops: at("127.0.0.1:9998") };
        let block = text(&addresses, true);
        for expected in
            ["http://localhost:8080/app", "rtmp://localhost/live", "http://127.0.0.1:9998/metrics", "colour-bar"]
        {
            assert!(block.contains(expected), "{block}");
        }
    }
}
