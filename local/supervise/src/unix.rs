//! Short cuts around DNS: local services that libc asks for names over a Unix socket. A program that does not find them
//! asks the resolver, as it would in a container.

use std::fs;

/// systemd-resolved's varlink (nss-resolve), nscd and Avahi (nss-mdns).
const SHORT_CUTS: [&str; 6] = [
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
    "/run/nscd/socket",
    "/run/avahi-daemon/socket",
    "/var/run/nscd/socket",
    "/var/run/avahi-daemon/socket",
];

/// SSSD answers for users and groups too, which programs need: it is a short cut only if it is asked for hosts.
const SSSD: &str = "/var/lib/sss/pipes/nss";

#[derive(Debug)]
pub(crate) struct ShortCuts {
    sssd: bool,
}

impl ShortCuts {
    /// The short cuts of this machine.
    pub(crate) fn here() -> ShortCuts {
        ShortCuts::of(&fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default())
    }

    /// From nsswitch.conf(5).
    fn of(switch: &str) -> ShortCuts {
        let hosts = switch.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"));
        let sssd = hosts.is_some_and(|services| services.split_whitespace().any(|service| service == "sss"));
        ShortCuts { sssd }
    }

    /// Whether the path must look absent.
    pub(crate) fn contain(&self, path: &[u8]) -> bool {
        SHORT_CUTS.iter().any(|closed| closed.as_bytes() == path) || (self.sssd && path == SSSD.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_closed_and_other_sockets_not() {
        let closed = ShortCuts::of("hosts: files dns");
        assert!(closed.contain(b"/run/systemd/resolve/io.systemd.Resolve"));
        assert!(closed.contain(b"/var/run/nscd/socket"));
        assert!(!closed.contain(b"/run/systemd/userdb/io.systemd.Multiplexer"));
        assert!(!closed.contain(b"/run/user/1000/bus"));
        assert!(!closed.contain(b"\0/run/nscd/socket"));
    }

    #[test]
    fn sssd_is_closed_only_where_it_is_asked_for_hosts() {
        assert!(!ShortCuts::of("passwd: files sss\nhosts: files dns\n").contain(SSSD.as_bytes()));
        assert!(ShortCuts::of("passwd: files sss\n hosts:\tfiles sss dns\n").contain(SSSD.as_bytes()));
    }
}
