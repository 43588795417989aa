//! The pod's resolver, asked on behalf of a laptop: messages go there and back as they are (RFC 1035).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::Outbound;

/// The usual port of resolvers.
const DOMAIN: u16 = 53;
/// How long one resolver is waited for, each time.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// A header and the shortest question.
const SHORTEST: usize = 17;
const LONGEST: usize = 65_535;
/// Nobody's resolv.conf is longer.
const MAX_CONF: u64 = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the question has {0} bytes, which no question has")]
    Length(usize),
    #[error("this agent has no room for more questions")]
    NoRoom,
    #[error("the pod has no resolver: {0}")]
    NoResolver(String),
    #[error("no answer from {0}")]
    Silent(SocketAddr),
}

impl Outbound {
    /// Asks the pod's resolvers one after the other; an answer that does not fit into a datagram is asked for again by
    /// TCP.
    pub(crate) async fn resolve(&self, query: &[u8]) -> Result<Bytes, ResolveError> {
        if !(SHORTEST..=LONGEST).contains(&query.len()) {
            return Err(ResolveError::Length(query.len()));
        }
        let _room = self.room.try_acquire().map_err(|_| ResolveError::NoRoom)?;
        let resolvers = match self.resolver {
            Some(resolver) => vec![resolver],
            None => nameservers(&self.resolv_conf().map_err(|error| no_resolver(&error))?),
        };
        let last = *resolvers.last().ok_or_else(|| ResolveError::NoResolver("none is named".to_owned()))?;
        for resolver in resolvers.iter().cycle().take(resolvers.len() * ROUNDS) {
            match tokio::time::timeout(ANSWER_WITHIN, ask(*resolver, query)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "no answer"),
                Err(_) => tracing::debug!(%resolver, "no answer in time"),
            }
        }
        Err(ResolveError::Silent(last))
    }

    /// The pod's resolv.conf, as far as it is text of a bearable length.
    pub(super) fn resolv_conf(&self) -> io::Result<String> {
        read(&self.resolv_conf)
    }
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_CONF).read_to_string(&mut text)?;
    Ok(text)
}

fn no_resolver(error: &io::Error) -> ResolveError {
    ResolveError::NoResolver(error.to_string())
}

/// The `nameserver` lines of a resolv.conf(5).
fn nameservers(conf: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let address: IpAddr = (words.next() == Some("nameserver")).then(|| words.next())??.parse().ok()?;
        Some(SocketAddr::new(address, DOMAIN))
    };
    conf.lines().filter_map(address).collect()
}

async fn ask(resolver: SocketAddr, query: &[u8]) -> io::Result<Bytes> {
    let answer = by_udp(resolver, query).await?;
    if is_truncated(&answer) { by_tcp(resolver, query).await } else { Ok(answer) }
}

/// From a port of its own for each question, and only from this resolver to it: nobody else's answer fits.
async fn by_udp(resolver: SocketAddr, query: &[u8]) -> io::Result<Bytes> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut buffer = Vec::with_capacity(LONGEST);
    loop {
        buffer.clear();
        socket.recv_buf(&mut buffer).await?;
        if answers(&buffer, query) {
            return Ok(Bytes::copy_from_slice(&buffer));
        }
    }
}

/// With the length before each message (RFC 1035, 4.2.2).
async fn by_tcp(resolver: SocketAddr, query: &[u8]) -> io::Result<Bytes> {
    let mut connection = TcpStream::connect(resolver).await?;
    // The caller has bounded it.
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    connection.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; connection.read_u16().await?.into()];
    connection.read_exact(&mut answer).await?;
    if answers(&answer, query) { Ok(answer.into()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The same id, and it is a response.
fn answers(answer: &[u8], query: &[u8]) -> bool {
    answer.len() >= 12 && answer[..2] == query[..2] && answer[2] & 0x80 != 0
}

fn is_truncated(answer: &[u8]) -> bool {
    answer[2] & 0x02 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_read_as_libc_reads_them() {
        let conf = "search shop.svc.cluster.local\nnameserver 10.96.0.10\n# nameserver 1.1.1.1\n nameserver\tfd00::a\n\
                    nameserver\nnameserver nonsense\noptions ndots:5\n";
        let named: Vec<String> = nameservers(conf).iter().map(ToString::to_string).collect();
        assert_eq!(named, ["10.96.0.10:53", "[fd00::a]:53"]);
    }
}
