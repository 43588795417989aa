//! The agent's limits of file descriptors, and so of connections. For memory, see `memory`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything but callers' connections and laptops' connections: listeners, daemons and unproven
/// clients, the kubelet, files.
const RESERVED: u64 = 640;
/// One for the caller, one for the origin.
const PER_CONNECTION: u64 = 2;
const MOST_CONNECTIONS: u64 = 100_000;
const MOST_OUTBOUND: u64 = 3_000;
/// Laptops get at most this part of the descriptors, so that callers always have theirs.
const OUTBOUND_PART: u64 = 6;

/// The number of connections that may be open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Callers' connections.
    pub(crate) callers: usize,
    /// Connections that laptops open in the cluster.
    pub(crate) outbound: usize,
}

impl Limits {
    /// Raises the descriptor limit as far as allowed, and returns the limits that follow from it.
    pub(crate) fn raise() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let descriptors = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
        Self::within(descriptors)
    }

    /// Without a descriptor limit, it is `None`.
    fn within(descriptors: Option<u64>) -> Self {
        let outbound =
            descriptors.map_or(MOST_OUTBOUND, |all| MOST_OUTBOUND.min(all / OUTBOUND_PART)).max(16);
        let callers = descriptors.map_or(MOST_CONNECTIONS, |all| {
            (all.saturating_sub(RESERVED + outbound) / PER_CONNECTION).clamp(64, MOST_CONNECTIONS)
        });
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self { callers: size(callers), outbound: size(outbound) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_descriptors() {
        for (descriptors, callers, outbound) in [
            (Some(1024), 107, 170),
            (Some(20_000), 8_180, 3_000),
            (Some(0), 64, 16),
            (Some(1 << 30), 100_000, 3_000),
            (None, 100_000, 3_000),
        ] {
            assert_eq!(Limits::within(descriptors), Limits { callers, outbound }, "{descriptors:?}");
        }
    }
}
