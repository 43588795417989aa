//! The sum of the counts of a session's agents. Pure.

use std::time::Duration;

use bridge_proto::{latency, v1};

/// Requests to the session's laptop, requests to the origin, and connections that were relayed unread.
pub(crate) fn of<'a>(counts: impl Iterator<Item = &'a v1::Counts>) -> (v1::Traffic, v1::Traffic, u64) {
    let (mut laptop, mut origin, mut opaque) = (v1::Tally::default(), v1::Tally::default(), 0);
    for count in counts {
        add(&mut laptop, count.laptop.as_ref());
        add(&mut origin, count.origin.as_ref());
        opaque += count.opaque;
    }
    (traffic(&laptop), traffic(&origin), opaque)
}

fn add(sum: &mut v1::Tally, tally: Option<&v1::Tally>) {
    let Some(tally) = tally else { return };
    sum.requests += tally.requests;
    sum.failed += tally.failed;
    if sum.took.len() < tally.took.len() {
        sum.took.resize(tally.took.len(), 0);
    }
    for (sum, count) in sum.took.iter_mut().zip(&tally.took) {
        *sum += count;
    }
}

fn traffic(tally: &v1::Tally) -> v1::Traffic {
    let micros =
        |took: Option<Duration>| took.map_or(0, |took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    v1::Traffic {
        requests: tally.requests,
        failed: tally.failed,
        p50_us: micros(latency::quantile(&tally.took, 0.5)),
        p99_us: micros(latency::quantile(&tally.took, 0.99)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64, failed: u64, took: Duration) -> v1::Counts {
        let mut of = vec![0; latency::BOUNDS_US.len() + 1];
        of[latency::index(took)] = requests;
        v1::Counts { laptop: Some(v1::Tally { requests, failed, took: of }), origin: None, opaque: 1 }
    }

    #[test]
    fn agents_are_added_up_before_latencies_are_read() {
        let slow = counts(1, 1, Duration::from_secs(1));
        let fast = counts(9, 0, Duration::from_millis(1));
        let (laptop, origin, opaque) = of([slow, fast].iter());
        assert_eq!((laptop.requests, laptop.failed, opaque), (10, 1, 2));
        assert!(laptop.p50_us <= 1_000 && laptop.p99_us > 500_000, "{laptop:?}");
        assert_eq!(origin, v1::Traffic::default());
    }
}
