//! Durations: counts by bounds that both sides know, and the quantiles that follow from them.

use std::time::Duration;

/// The bounds, in microseconds: each counts durations up to it and above the one before. One more count follows, of
/// durations above all.
pub const BOUNDS_US: [u64; 18] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The index of the count for a duration.
#[must_use]
pub fn index(took: Duration) -> usize {
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    BOUNDS_US.partition_point(|bound| *bound < took_us)
}

/// The duration that this share of them (0.99: 99 of 100) did not exceed, interpolated between two bounds. `None` if
/// there are none. Durations above all bounds count as the last.
#[must_use]
pub fn quantile(counts: &[u64], share: f64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let wanted = (total as f64 * share).max(1.0);
    let mut below = 0.0;
    for (index, &count) in counts.iter().enumerate() {
        let count = count as f64;
        if below + count >= wanted {
            let upper = BOUNDS_US[index.min(BOUNDS_US.len() - 1)] as f64;
            let lower = if index == 0 { 0.0 } else { BOUNDS_US[index.min(BOUNDS_US.len()) - 1] as f64 };
            let within = lower.min(upper) + (upper - lower).max(0.0) * (wanted - below) / count;
            return Some(Duration::from_secs_f64(within / 1e6));
        }
        below += count;
    }
    BOUNDS_US.last().map(|&last| Duration::from_micros(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(took_us: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; BOUNDS_US.len() + 1];
        for &took_us in took_us {
            counts[index(Duration::from_micros(took_us))] += 1;
        }
        counts
    }

    #[test]
    fn each_time_has_its_count() {
        for (took_us, expected) in
            [(0, 0), (100, 0), (101, 1), (60_000_000, 17), (60_000_001, 18), (u64::MAX, 18)]
        {
            assert_eq!(index(Duration::from_micros(took_us)), expected, "{took_us} us");
        }
    }

    #[test]
    fn a_quantile_lies_where_the_times_are() {
        assert_eq!(quantile(&counts(&[]), 0.5), None);
        let mostly_fast: Vec<u64> = [vec![150; 98], vec![40_000; 2]].concat();
        let half = quantile(&counts(&mostly_fast), 0.5).expect("there are some");
        let most = quantile(&counts(&mostly_fast), 0.99).expect("there are some");
        assert!(half > Duration::from_micros(100) && half <= Duration::from_micros(200), "{half:?}");
        assert!(most > Duration::from_millis(20) && most <= Duration::from_millis(50), "{most:?}");
        let endless = quantile(&counts(&[u64::MAX]), 0.5).expect("there is one");
        assert_eq!(endless, Duration::from_secs(60), "nothing more is known of it");
        assert!(quantile(&[7], 0.5).is_some(), "counts by fewer bounds, from another version");
    }
}
