//! What a type cannot say: texts that are addresses, filters or names, and numbers with a range. Checked once
//! everything is merged, so that `headwater config check` tells it, and not the first bind or the first stream.

use std::ops::RangeInclusive;

use transcode::{Encoder, Preset};

use super::{Problem, Settings, layers::Merged};
use crate::logging;

pub(super) fn check(settings: &Settings, merged: &Merged, problems: &mut Vec<Problem>) {
    let mut wrong = |section: &str, key: &str, what: String, hint: &str| {
        problems.push(Problem { at: merged.origin(section, key), what, hint: hint.to_owned() });
    };
    if let Err(error) = logging::filter(&settings.server.log_level) {
        wrong("server", "log_level", error.to_string(), "for example server.log_level = \"info\"");
    }
    if let Err(error) = Preset::named(&settings.transcode.preset) {
        wrong(
            "transcode",
            "preset",
            format!("transcode.preset: {error}"),
            "for example transcode.preset = \"default\"",
        );
    }
    let encoders = Encoder::ALL.map(Encoder::name);
    if !encoders.contains(&settings.transcode.encoder.as_str()) {
        let what = format!("transcode.encoder = {:?} is not an encoder", settings.transcode.encoder);
        wrong("transcode", "encoder", what, &format!("the encoders are {}", encoders.join(", ")));
    }
    for (section, key, value, range) in ranges(settings) {
        if !range.contains(&value) {
            let what = format!("{section}.{key} = {value} is out of its range");
            wrong(section, key, what, &format!("{} to {}", range.start(), range.end()));
        }
    }
    if let Err(error) = settings.live.check() {
        wrong("live", error.key, error.to_string(), &format!("{} to {}", error.range.start(), error.range.end()));
    }
    if let Err(error) = settings.vod.check() {
        wrong("vod", error.key, error.to_string(), &format!("{} to {}", error.range.start(), error.range.end()));
    }
    let unknown = |cap: &&String| !vod::protocol::cap::ALL.contains(&cap.as_str());
    if let Some(cap) = settings.worker.caps.iter().find(unknown) {
        let what = format!("worker.caps: {cap:?} is no capability");
        wrong("worker", "caps", what, &format!("the capabilities are {}", vod::protocol::cap::ALL.join(", ")));
    }
    for (section, key, address) in addresses(settings) {
        if !is_address(address) {
            let what = format!("{section}.{key} = {address:?} is not an address with a port");
            wrong(section, key, what, "for example \"0.0.0.0:8080\", \"127.0.0.1:0\" or \"[::]:8080\"");
        }
    }
}

/// The ranges that the settings' texts name.
fn ranges(settings: &Settings) -> Vec<(&'static str, &'static str, u32, RangeInclusive<u32>)> {
    let (server, transcode) = (&settings.server, &settings.transcode);
    vec![
        ("server", "shutdown_grace_ms", server.shutdown_grace_ms, 0..=600_000),
        ("transcode", "nice", transcode.nice, 0..=19),
    ]
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
    fn what_cannot_be_used_is_told_with_its_place() {
        let check = |section: &str, key: &str, text: &str| {
            let error = resolve(&Sources::default().with_set(section, key, text)).expect_err("it is wrong").to_string();
            assert!(error.starts_with(&format!("--set {section}.{key}: {section}.{key}")), "{error}");
        };
        check("edge", "http", "8080");
        check("live", "rtmp", "rtmp://localhost");
        check("server", "log_level", "loud");
        check("live", "part_duration_ms", "99");
        check("live", "window_ms", "5");
        check("transcode", "nice", "20");
        check("transcode", "preset", "defualt");
        check("transcode", "encoder", "x264");
    }
}
