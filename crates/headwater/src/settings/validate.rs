//! What a type cannot say: texts that are addresses or filters. Checked once everything is merged, so that `headwater config check` tells it
//! and not the first bind.

use super::{Problem, Settings, layers::Merged};
use crate::logging;

pub(super) fn check(settings: &Settings, merged: &Merged, problems: &mut Vec<Problem>) {
    let mut wrong = |section: &str, key: &str, what: String, hint: &str| {
        problems.push(Problem { at: merged.origin(section, key), what, hint: hint.to_owned() });
    };
    if let Err(error) = logging::filter(&settings.server.log_level) {
        wrong("server", "log_level", error.to_string(), "for example server.log_level = \"info\"");
    }
    for (section, key, address) in addresses(settings) {
        if !is_address(address) {
            let what = format!("{section}.{key} = {address:?} is not an address with a port");
            wrong(section, key, what, "for example \"0.0.0.0:8080\", \"127.0.0.1:0\" or \"[::]:8080\"");
        }
    }
}

fn addresses(settings: &Settings) -> Vec<(&'static str, &'static str, &str)> {
    vec![("edge", "http", &settings.edge.http), ("live", "rtmp", &settings.live.rtmp)]
}

/// `HOST:PORT`; whether a host's name resolves is found when it is bound.
fn is_address(text: &str) -> bool {
    match text.parse::<std::net::SocketAddr>() {
        Ok(_) => true,
        Err(_) => text.rsplit_once(':').is_some_and(|(host, port)| {
            let name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
            !host.is_empty() && host.chars().all(name) && port.parse::<u16>().is_ok()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Sources, resolve};

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let check = |text: &str, expected: bool| assert_eq!(is_address(text), expected, "{text:?}");
        check("0.0.0.0:8080", true);
        check("[::]:8080", true);
        check("localhost:0", true);
        check("8080", false);
        check(":8080", false);
        check("0.0.0.0", false);
        check("0.0.0.0:80800", false);
        check("http://localhost:8080", false);
    }

    #[test]
    fn a_wrong_address_or_level_is_told_with_its_place() {
        let check = |section: &str, key: &str, text: &str| {
            let error = resolve(&Sources::default().with_set(section, key, text)).expect_err("it is wrong").to_string();
            assert!(error.starts_with(&format!("--set {section}.{key}: {section}.{key}")), "{error}");
        };
        check("edge", "http", "8080");
        check("server", "log_level", "loud");
    }
}
