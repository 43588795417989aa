//! A client in Rust: client KIND HOST:PORT… prints "HOST:PORT ANSWER" for each.

use std::error::Error;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

type Answer = Result<String, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    for at in arguments {
        let asked = async {
            match kind.as_str() {
                "tokio" => by_tokio(&at).await,
                "reqwest" => by_reqwest(&at).await,
                "hickory" => by_hickory(&at).await,
                _ => Err("the kinds are tokio, reqwest and hickory".into()),
            }
        };
        let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|late| Err(late.into()));
        println!("{at} {}", answer.unwrap_or_else(|error| format!("error: {error:?}")).trim());
    }
}

async fn by_tokio(at: &str) -> Answer {
    let mut connection = TcpStream::connect(at).await?;
    connection.write_all(format!("GET /whoami HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer.split_once("\r\n\r\n").ok_or("no head")?.1.to_owned())
}

async fn by_reqwest(at: &str) -> Answer {
    Ok(reqwest::get(format!("http://{at}/whoami")).await?.text().await?)
}

async fn by_hickory(at: &str) -> Answer {
    let host = at.split(':').next().unwrap_or_default();
    let found = TokioResolver::builder_tokio()?.build()?.ipv4_lookup(host).await?;
    let addresses = found.answers().iter().map(|record| record.data.to_string());
    Ok(addresses.collect::<Vec<_>>().join(" "))
}
