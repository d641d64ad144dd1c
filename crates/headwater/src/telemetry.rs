//! Metrics: the process's recorder and the buckets of its histograms.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Buckets of durations, in seconds: from a cache hit (100 us) over a parked playlist reload to a long drain (60 s).
const SECONDS_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Buckets of sizes, in bytes: from a playlist (256 B) to a 4K segment (64 MiB).
const BYTES_BUCKETS: &[f64] =
    &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];
/// How often the recorder folds new values into its histograms, so that an unread one does not grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the recorder of the process.
///
/// # Errors
/// When one is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    metrics::gauge!("headwater_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Folds recorded values into the histograms, for ever. Spawn it beside the operations listener.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), BYTES_BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_histograms_with_our_buckets() {
        let recorder = builder().expect("the buckets are not empty").build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::histogram!("headwater_test_seconds").record(0.02));
        let text = recorder.handle().render();
        assert!(text.contains("headwater_test_seconds_bucket{le=\"0.025\"} 1"), "{text}");
        assert!(text.contains("headwater_test_seconds_bucket{le=\"0.01\"} 0"), "{text}");
    }
}
