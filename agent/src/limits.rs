//! What bounds the agent: file descriptors, and with them connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for what is not a caller's connection: listeners, daemons, probes, files.
const RESERVED: u64 = 256;
/// A caller's connection and the origin's.
const PER_CONNECTION: u64 = 2;
const MOST_CONNECTIONS: u64 = 100_000;

/// Raises the descriptor limit as far as allowed, and returns how many callers' connections that is good for.
pub(crate) fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    connections_for(descriptors)
}

/// No limit is `None`.
fn connections_for(descriptors: Option<u64>) -> usize {
    let connections = descriptors.map_or(MOST_CONNECTIONS, |descriptors| {
        (descriptors.saturating_sub(RESERVED) / PER_CONNECTION).clamp(64, MOST_CONNECTIONS)
    });
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_descriptors() {
        for (descriptors, connections) in
            [(Some(1024), 384), (Some(0), 64), (Some(1 << 30), 100_000), (None, 100_000)]
        {
            assert_eq!(connections_for(descriptors), connections, "{descriptors:?}");
        }
    }
}
