//! The sum of the counts of a session's agents. Pure.

use std::time::Duration;

use bridge_proto::{latency, v1};

/// The counts of all agents together.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    /// Requests that the session's laptop answered, and those that the origin did.
    pub(crate) to_laptop: v1::Traffic,
    pub(crate) to_origin: v1::Traffic,
    /// Copies that the laptop answered, and the number of those that were given up.
    pub(crate) copied: v1::Traffic,
    pub(crate) copies_given_up: u64,
    /// Connections that were relayed unread.
    pub(crate) opaque: u64,
}

impl<'a> FromIterator<&'a v1::Counts> for Sum {
    fn from_iter<T: IntoIterator<Item = &'a v1::Counts>>(counts: T) -> Self {
        let (mut laptop, mut origin, mut copies) = <(v1::Tally, v1::Tally, v1::Tally)>::default();
        let mut sum = Self::default();
        for count in counts {
            add(&mut laptop, count.laptop.as_ref());
            add(&mut origin, count.origin.as_ref());
            add(&mut copies, count.copies.as_ref());
            sum.copies_given_up += count.copies_given_up;
            sum.opaque += count.opaque;
        }
        let [to_laptop, to_origin, copied] = [laptop, origin, copies].map(|tally| traffic(&tally));
        Self { to_laptop, to_origin, copied, ..sum }
    }
}

/// Callers that make no connection for this long have none, or keep theirs.
const QUIET: Duration = Duration::from_secs(30);

/// What to think of it, if nothing at all has come to the agents in the time since the session began.
pub(crate) fn nothing_comes(sum: &Sum, since: Duration) -> Option<&'static str> {
    let Sum { to_laptop, to_origin, copied: _, copies_given_up: _, opaque } = sum;
    let came = to_laptop.requests + to_origin.requests + opaque;
    (came == 0 && since >= QUIET).then_some(
        "no request has come to the agents yet: callers that keep connections from before reach the pods \
         (`bridge connect` with --restart-callers or --restart-origin makes them open new ones)",
    )
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
        let tally = v1::Tally { requests, failed, took: of };
        v1::Counts {
            laptop: Some(tally.clone()),
            copies: Some(tally),
            copies_given_up: 2,
            opaque: 1,
            origin: None,
        }
    }

    #[test]
    fn nothing_comes_only_if_nothing_came_for_long() {
        let (soon, late) = (Duration::from_secs(29), Duration::from_secs(30));
        let none = || [v1::Counts::default()].iter().collect::<Sum>();
        assert_eq!(nothing_comes(&none(), soon), None);
        assert!(nothing_comes(&none(), late).is_some_and(|text| text.contains("--restart-callers")));
        let one = v1::Tally { requests: 1, ..v1::Tally::default() };
        for came in [
            v1::Counts { laptop: Some(one.clone()), ..v1::Counts::default() },
            v1::Counts { origin: Some(one), ..v1::Counts::default() },
            v1::Counts { opaque: 1, ..v1::Counts::default() },
        ] {
            assert_eq!(nothing_comes(&[came].iter().collect(), late), None);
        }
    }

    #[test]
    fn agents_are_added_up_before_latencies_are_read() {
        let slow = counts(1, 1, Duration::from_secs(1));
        let fast = counts(9, 0, Duration::from_millis(1));
        let Sum { to_laptop, to_origin, copied, copies_given_up, opaque } = [slow, fast].iter().collect();
        assert_eq!((to_laptop.requests, to_laptop.failed, opaque), (10, 1, 2));
        assert!(to_laptop.p50_us <= 1_000 && to_laptop.p99_us > 500_000, "{to_laptop:?}");
        assert_eq!((copied, copies_given_up), (to_laptop, 4));
        assert_eq!(to_origin, v1::Traffic::default());
    }
}
