//! Decides about a destination. Pure: the caller has determined the destination and the kind of socket.

use std::{net::SocketAddr, time::Duration};

use rustix::io::Errno;

use crate::way::{Destinations, Transport, Verdict};

/// A socket's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    /// A stream of another kind (SCTP).
    OtherStream,
    /// ICMP, raw packets …
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Leave,
    Relay,
    Resolve,
    Fail(Errno),
}

/// Whether a destination is left alone, whatever the socket is. Most are, and cost nothing more.
pub(crate) fn is_left(destinations: &impl Destinations, destination: SocketAddr) -> bool {
    [Transport::Tcp, Transport::Udp]
        .into_iter()
        .all(|transport| destinations.of(destination, transport) == Verdict::Leave)
}

pub(crate) fn step(destinations: &impl Destinations, destination: SocketAddr, kind: Kind) -> Step {
    let transport = match kind {
        Kind::Tcp | Kind::OtherStream => Transport::Tcp,
        Kind::Udp | Kind::Other => Transport::Udp,
    };
    match (destinations.of(destination, transport), kind) {
        (Verdict::Leave, _) => Step::Leave,
        (Verdict::Refuse(refusal), _) => Step::Fail(refusal.errno()),
        // The cluster's, but of a kind that cannot be carried there: it must not go out by the laptop's own way.
        (_, Kind::OtherStream | Kind::Other) => Step::Fail(Errno::NETUNREACH),
        (Verdict::Relay, _) => Step::Relay,
        (Verdict::Resolve, _) => Step::Resolve,
    }
}

/// The limit for a blocking connect, and its error then: as tcp(7) has it with SO_SNDTIMEO, or by the way's patience.
pub(crate) fn hold(send_timeout: Option<Duration>, patience: Duration) -> (Duration, Errno) {
    match send_timeout {
        Some(timeout) if timeout < patience => (timeout, Errno::INPROGRESS),
        _ => (patience, Errno::TIMEDOUT),
    }
}

/// The error that a program gets when bridge fails to take over its socket for a destination in the cluster. The
/// program's own mistakes get their own errors; ours look like an unreachable network, and never let the call through.
pub(crate) fn failure(error: &std::io::Error) -> Errno {
    match Errno::from_io_error(error) {
        Some(own @ (Errno::BADF | Errno::NOTSOCK | Errno::AFNOSUPPORT)) => own,
        _ => Errno::NETUNREACH,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::way::Refusal;

    struct Cluster;

    impl Destinations for Cluster {
        fn of(&self, destination: SocketAddr, transport: Transport) -> Verdict {
            match (destination.to_string().as_str(), transport) {
                ("10.96.0.1:80", _) => Verdict::Relay,
                ("10.96.0.1:81", Transport::Tcp) => Verdict::Refuse(Refusal::Refused),
                ("127.0.0.53:53", _) => Verdict::Resolve,
                _ => Verdict::Leave,
            }
        }
    }

    fn of(destination: &str, kind: Kind) -> Step {
        step(&Cluster, destination.parse().unwrap(), kind)
    }

    #[test]
    fn the_clusters_is_relayed_and_the_rest_left() {
        for kind in [Kind::Tcp, Kind::Udp] {
            assert_eq!(of("10.96.0.1:80", kind), Step::Relay);
            assert_eq!(of("127.0.0.53:53", kind), Step::Resolve);
            assert_eq!(of("192.0.2.1:80", kind), Step::Leave);
        }
        assert!(is_left(&Cluster, "192.0.2.1:80".parse().unwrap()));
    }

    #[test]
    fn a_destination_of_one_transport_is_looked_at() {
        assert!(!is_left(&Cluster, "10.96.0.1:81".parse().unwrap()));
        assert_eq!(of("10.96.0.1:81", Kind::Tcp), Step::Fail(Errno::CONNREFUSED));
        assert_eq!(of("10.96.0.1:81", Kind::Udp), Step::Leave);
    }

    #[test]
    fn sockets_that_cannot_be_carried_do_not_leave_either() {
        assert_eq!(of("10.96.0.1:80", Kind::OtherStream), Step::Fail(Errno::NETUNREACH));
        assert_eq!(of("10.96.0.1:80", Kind::Other), Step::Fail(Errno::NETUNREACH));
        assert_eq!(of("192.0.2.1:80", Kind::Other), Step::Leave);
    }

    #[test]
    fn holds_are_bounded_by_the_program_or_by_the_way() {
        let [short, patience, long] = [5, 11, 60].map(Duration::from_secs);
        assert_eq!(hold(None, patience), (patience, Errno::TIMEDOUT));
        assert_eq!(hold(Some(long), patience), (patience, Errno::TIMEDOUT));
        assert_eq!(hold(Some(short), patience), (short, Errno::INPROGRESS));
    }

    #[test]
    fn our_own_want_of_descriptors_is_no_way_out() {
        let error = |errno: Errno| io::Error::from(errno);
        assert_eq!(failure(&error(Errno::MFILE)), Errno::NETUNREACH);
        assert_eq!(failure(&error(Errno::PERM)), Errno::NETUNREACH);
        assert_eq!(failure(&error(Errno::BADF)), Errno::BADF);
    }
}
