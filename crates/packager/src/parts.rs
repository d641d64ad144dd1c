//! The choice of PART-TARGET.
//!
//! RFC 8216bis 4.4.4.9: no part may be longer than the Part Target Duration, and every part but an independent one and the
//! last of its segment must reach 85 % of it. A part is a whole number of samples, so the target has to suit the sample
//! durations of picture and sound at once.

/// Timestamps that were rounded to milliseconds (RTMP) make a run of samples this much longer or shorter, in microseconds.
const JITTER_US: i64 = 2_000;
/// PART-TARGET is a multiple of this, in microseconds: it prints exactly.
const STEP_US: i64 = 5_000;
/// No part is longer than this, whatever the sample durations, in microseconds.
const PART_TARGET_MAX_US: i64 = 4_000_000;

/// The smallest PART-TARGET from `nominal_us` up that suits samples of every duration in `samples_us`; all in microseconds.
///
/// When none does, the first that holds one sample of each: the upper bound is kept, the lower one cannot be.
pub(crate) fn part_target_us(nominal_us: i64, samples_us: &[i64]) -> i64 {
    let first = (nominal_us / STEP_US + 1) * STEP_US;
    let candidates =
        || (0..).map(|n| first + n * STEP_US).take_while(|&target| target <= PART_TARGET_MAX_US.max(first));
    let longest = samples_us.iter().copied().max().unwrap_or(0);
    candidates()
        .find(|&target| samples_us.iter().all(|&sample| suits(target, sample)))
        .or_else(|| candidates().find(|&target| target >= longest + JITTER_US))
        .unwrap_or(first)
}

/// Whether parts of samples of `sample_us` stay within 85 % and 100 % of `target_us`, jitter included.
pub(crate) fn suits(target_us: i64, sample_us: i64) -> bool {
    if sample_us <= 0 {
        return true;
    }
    let samples = (target_us - JITTER_US) / sample_us;
    samples >= 1 && (samples * sample_us - JITTER_US) * 100 >= target_us * 85
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_suits_pictures_and_sound() {
        let check = |frame_rates: &[f64], target_ms: i64| {
            let samples: Vec<i64> = frame_rates.iter().map(|rate| (1e6 / rate) as i64).collect();
            assert_eq!(part_target_us(200_000, &samples), target_ms * 1_000, "{frame_rates:?}");
        };
        let (aac_48, aac_44) = (48_000.0 / 1024.0, 44_100.0 / 1024.0);
        check(&[60.0, aac_48], 205);
        check(&[60.0, aac_44], 205);
        check(&[30.0, aac_48], 205);
        check(&[29.97, aac_48], 205);
        check(&[25.0, aac_48], 205);
        check(&[24.0, aac_48], 215);
        check(&[15.0, aac_48], 205);
        check(&[12.0, aac_48], 255);
        check(&[1.0, aac_48], 1_005);
        check(&[aac_48], 205);
        check(&[], 205);
        check(&[0.1], 205);
    }
}
