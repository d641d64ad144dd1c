//! Are the addresses free, and is loopback there in both families?

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, TcpListener},
};

use super::Finding;
use crate::{Settings, cli::SHORTCUTS};

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings: Vec<_> = listeners(settings).into_iter().map(|(name, address)| of_port(name, &address)).collect();
    findings.push(of_loopback());
    findings
}

/// Every listener of the settings: check name and address.
fn listeners(settings: &Settings) -> Vec<(&'static str, String)> {
    vec![
        ("http port", settings.edge.http.clone()),
        ("rtmp port", settings.live.rtmp.clone()),
        ("ops port", settings.server.ops.to_string()),
    ]
}

fn of_port(check: &'static str, address: &str) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) => {
            let flag = SHORTCUTS.iter().find(|shortcut| check.starts_with(shortcut.flag)).map_or("set", |s| s.flag);
            let remedy = match error.kind() {
                ErrorKind::AddrInUse => {
                    format!("stop what listens there (perhaps Headwater itself), or choose another with --{flag} ADDR")
                }
                ErrorKind::PermissionDenied => {
                    format!("ports below 1024 need a capability; choose another with --{flag} ADDR")
                }
                _ => format!("choose an address of this machine with --{flag} ADDR"),
            };
            Finding::fix(check, format!("{address}: {error}"), remedy)
        }
    }
}

fn of_loopback() -> Finding {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).is_ok();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    match (v4, v6) {
        (true, true) => Finding::ok("loopback", "IPv4 and IPv6"),
        (true, false) => {
            Finding::warn("loopback", "IPv4 only", "fine unless viewers use IPv6: then enable it in the system")
        }
        (false, true) => Finding::warn("loopback", "IPv6 only", "listen on [::] addresses"),
        (false, false) => Finding::fix("loopback", "no loopback interface", "bring it up: ip link set lo up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_taken_port_must_be_fixed_and_names_its_flag() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is up");
        let finding = of_port("ops port", &taken.local_addr().expect("it is bound").to_string());
        assert_eq!(finding.verdict, Verdict::Fix, "{finding:?}");
        assert!(finding.remedy.expect("it has a remedy").contains("--ops ADDR"));
    }

    #[test]
    fn a_free_port_is_ok() {
        assert_eq!(of_port("ops port", "127.0.0.1:0").verdict, Verdict::Ok);
    }
}
