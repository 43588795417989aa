//! Asks a resolver on behalf of a program: the agent asks its pod's resolver, the command its machine's. Messages pass
//! unchanged in both directions (RFC 1035); only their header is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// The usual port of resolvers.
const PORT: u16 = 53;
const HEADER: usize = 12;
/// The maximum length of a message: by TCP, it has two bytes.
pub const LONGEST: usize = 65_535;

/// The `nameserver` lines of a resolv.conf(5).
#[must_use]
pub fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next())??.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    };
    resolv_conf.lines().filter_map(address).collect()
}

/// Asks one resolver; by TCP if the answer does not fit into a datagram. Waits as long as the caller does.
///
/// # Errors
///
/// Errors of the sockets; by TCP, a query longer than `LONGEST`, and an answer that does not fit the query.
pub async fn ask(resolver: SocketAddr, query: &[u8]) -> io::Result<Bytes> {
    let answer = by_udp(resolver, query).await?;
    if is_truncated(&answer) { by_tcp(resolver, query).await } else { Ok(answer) }
}

/// Uses a new port for each query, and accepts only this resolver's datagrams: no other's answer fits.
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

/// Each message follows its length (RFC 1035, 4.2.2).
async fn by_tcp(resolver: SocketAddr, query: &[u8]) -> io::Result<Bytes> {
    let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut connection = TcpStream::connect(resolver).await?;
    connection.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; connection.read_u16().await?.into()];
    connection.read_exact(&mut answer).await?;
    if answers(&answer, query) { Ok(answer.into()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether it is a response with the same id.
fn answers(answer: &[u8], query: &[u8]) -> bool {
    answer.len() >= HEADER && answer.get(..2) == query.get(..2) && answer[2] & 0x80 != 0
}

fn is_truncated(answer: &[u8]) -> bool {
    answer[2] & 0x02 != 0
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const QUERY: &[u8] = b"id\x01\0\0\x01\0\0\0\0\0\0 a name";
    const ANSWER: &[u8] = b"id\x81\0\0\x01\0\0\0\0\0\0 a name";
    const TRUNCATED: &[u8] = b"id\x83\0\0\x01\0\0\0\0\0\0";

    #[test]
    fn nameservers_are_read_as_libc_reads_them() {
        let conf = "search shop.svc.cluster.local\nnameserver 10.96.0.10\n# nameserver 1.1.1.1\n nameserver\tfd00::a\n\
                    nameserver\nnameserver nonsense\noptions ndots:5\n";
        let named: Vec<String> = nameservers(conf).iter().map(ToString::to_string).collect();
        assert_eq!(named, ["10.96.0.10:53", "[fd00::a]:53"]);
    }

    /// Asks a resolver with these answers by UDP, and by TCP.
    async fn asked(by_udp: &[&[u8]], by_tcp: &[u8]) -> io::Result<Bytes> {
        let (udp, tcp) = sockets().await;
        let resolver = udp.local_addr()?;
        let datagrams = async {
            let (_, from) = udp.recv_from(&mut [0; 512]).await?;
            for datagram in by_udp {
                udp.send_to(datagram, from).await?;
            }
            let (mut connection, _) = tcp.accept().await?;
            let mut query = vec![0; connection.read_u16().await?.into()];
            connection.read_exact(&mut query).await?;
            assert_eq!(query, QUERY);
            connection.write_u16(by_tcp.len() as u16).await?;
            connection.write_all(by_tcp).await?;
            std::future::pending().await
        };
        tokio::select! {
            answer = ask(resolver, QUERY) => answer,
            failed = datagrams => failed,
        }
    }

    /// One port of both kinds.
    async fn sockets() -> (UdpSocket, TcpListener) {
        loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // Another process may have that port for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                return (udp, tcp);
            }
        }
    }

    #[tokio::test]
    async fn only_an_answer_to_the_query_is_one() {
        let others: [&[u8]; 5] = [b"", b"id", QUERY, b"ID\x81\0\0\x01\0\0\0\0\0\0", ANSWER];
        assert_eq!(asked(&others, b"").await.unwrap(), ANSWER);
    }

    #[tokio::test]
    async fn an_answer_too_long_for_a_datagram_is_asked_for_by_tcp() {
        let long = [ANSWER, &[b'!'; 2000]].concat();
        assert_eq!(asked(&[TRUNCATED], &long).await.unwrap(), long);
        let error = asked(&[TRUNCATED], b"ID\x81").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
