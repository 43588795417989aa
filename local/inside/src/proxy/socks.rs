//! A SOCKS5 client (RFC 1928): its requests, and the answers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bridge_proto::tunnel::Refused;
use bridge_proto::v1::Cause;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wanted::{Asked, Host, Wanted};

pub(super) const VERSION: u8 = 5;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Answers the greeting, and reads the request: not one byte more, as the rest is for the destination.
pub(super) async fn asked(connection: &mut TcpStream) -> io::Result<Asked> {
    const NO_AUTHENTICATION: u8 = 0;
    const NONE_ACCEPTABLE: u8 = 0xff;
    const CONNECT: u8 = 1;
    const UDP_ASSOCIATE: u8 = 3;
    const COMMAND_NOT_SUPPORTED: u8 = 7;
    let _version = connection.read_u8().await?;
    let mut methods = vec![0; connection.read_u8().await?.into()];
    connection.read_exact(&mut methods).await?;
    if !methods.contains(&NO_AUTHENTICATION) {
        connection.write_all(&[VERSION, NONE_ACCEPTABLE]).await?;
        return Err(io::ErrorKind::InvalidData.into());
    }
    connection.write_all(&[VERSION, NO_AUTHENTICATION]).await?;

    let mut head = [0; 3];
    connection.read_exact(&mut head).await?;
    let wanted = wanted(connection).await?;
    match head[1] {
        CONNECT => Ok(Asked::Socks(wanted)),
        // Most clients do not know yet where their datagrams will come from: that address is ignored.
        UDP_ASSOCIATE => Ok(Asked::Datagrams),
        _ => {
            connection.write_all(&reply(COMMAND_NOT_SUPPORTED, NOWHERE)).await?;
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

/// Reads a host and a port, in each of the encodings (RFC 1928, 5).
pub(super) async fn wanted(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Wanted> {
    let host = match from.read_u8().await? {
        IPV4 => Host::Address(Ipv4Addr::from_bits(from.read_u32().await?).into()),
        IPV6 => Host::Address(Ipv6Addr::from_bits(from.read_u128().await?).into()),
        NAME => {
            let mut name = vec![0; from.read_u8().await?.into()];
            from.read_exact(&mut name).await?;
            Host::of(&String::from_utf8(name).map_err(|_| io::ErrorKind::InvalidData)?)
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Wanted { host, port: from.read_u16().await? })
}

/// Encodes an address in the same way.
pub(super) fn written(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(four) => [&[IPV4][..], &four.octets()].concat(),
        IpAddr::V6(six) => [&[IPV6][..], &six.octets()].concat(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

pub(super) fn reply(code: u8, address: SocketAddr) -> Vec<u8> {
    [&[VERSION, code, 0][..], &written(address)].concat()
}

/// The address in it is of no use (RFC 1928, 6).
pub(super) fn answer(refused: Option<&Refused>) -> Vec<u8> {
    let code = refused.map_or(0, |refused| match refused.cause {
        Cause::Forbidden => 2,
        Cause::TunnelLost | Cause::NetworkUnreachable => 3,
        Cause::Refused => 5,
        Cause::TimedOut => 6,
        _ => 4,
    });
    reply(code, NOWHERE)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_is_greeted_and_its_later_bytes_are_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = tokio::spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(&[5, 2, 0, 2]).await.unwrap();
            let mut chosen = [0; 2];
            client.read_exact(&mut chosen).await.unwrap();
            client.write_all(b"\x05\x01\x00\x03\x07db.shop\x15\x38in a hurry").await.unwrap();
            chosen
        });
        let mut connection = listener.accept().await.unwrap().0;
        let wanted = Wanted { host: Host::Name("db.shop".into()), port: 5432 };
        assert_eq!(asked(&mut connection).await.unwrap(), Asked::Socks(wanted));
        assert_eq!(client.await.unwrap(), [5, 0], "no authentication");
        let mut rest = String::new();
        connection.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "in a hurry");
    }

    #[tokio::test]
    async fn addresses_are_read_as_written() {
        for address in ["10.96.0.10:53", "[fd00::7]:8080"] {
            let address: SocketAddr = address.parse().unwrap();
            let read = wanted(&mut written(address).as_slice()).await.unwrap();
            assert_eq!(read, Wanted { host: Host::Address(address.ip()), port: address.port() });
        }
        for nonsense in [&[2, 0, 0][..], &[1, 10, 0], &[3, 9, b'x'], &[]] {
            assert!(wanted(&mut &*nonsense).await.is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn a_failure_is_reported_in_the_client_s_protocol() {
        let refused = Refused { cause: Cause::Refused, detail: "nothing listens".into() };
        assert_eq!(answer(Some(&refused))[1], 5);
        assert_eq!(answer(None), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}
