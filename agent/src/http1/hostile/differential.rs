//! Compares our reading of requests with hyper's: hyper reads every request that we would route, with the same end and
//! the same body.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::generate::requests;
use crate::http1::framing::{Body, Framing};
use crate::http1::head::{HeadScan, Method, Scan, parse_request};

const CASES: u32 = 4000;

/// A request as one of the two has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    method: String,
    /// `None` if it has no end.
    body: Option<Vec<u8>>,
}

/// The requests that we would route, as far as we would read on.
fn ours(mut bytes: &[u8]) -> Vec<Read> {
    let mut read = Vec::new();
    while let Ok(Scan::Complete(len)) = HeadScan::default().advance(bytes) {
        let parsed = parse_request(&bytes[..len], |head| (head.method.to_owned(), head.target.to_owned()));
        let Ok((request, (method, target))) = parsed else { break };
        // hyper has its own rules for the characters in a target, which have nothing to do with where it ends.
        if Uri::try_from(target).is_err() {
            break;
        }
        let mut body = Body::new(request.framing);
        let Ok(own) = body.scan(&bytes[len..]) else {
            // A body that turns out to be flawed is not passed on, but its head is.
            read.push(Read { method, body: None });
            break;
        };
        let (whole, rest) = (&bytes[len..len + own], &bytes[len + own..]);
        let body = body
            .is_over()
            .then(|| if request.framing == Framing::Chunked { unchunked(whole) } else { whole.to_vec() });
        let goes_on =
            body.is_some() && !request.closes && request.method != Method::Connect && !request.upgrades;
        read.push(Read { method, body });
        if !goes_on {
            break;
        }
        bytes = rest;
    }
    read
}

/// The data of chunks that are known to be good.
fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let line = chunks.iter().position(|byte| *byte == b'\n').expect("a line");
        let digits = chunks[..line].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let digits = std::str::from_utf8(&chunks[..digits]).expect("digits");
        let size = usize::from_str_radix(digits, 16).expect("a size");
        if size == 0 {
            return data;
        }
        data.extend_from_slice(&chunks[line + 1..line + 1 + size]);
        chunks = &chunks[line + 1 + size + 2..];
    }
}

/// The requests that hyper reads, up to the first that it refuses.
async fn hypers(bytes: &[u8]) -> Vec<Read> {
    let read = Arc::new(Mutex::new(Vec::new()));
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let read = read.clone();
        let at = {
            let mut read = read.lock().expect("no panic");
            read.push(Read { method: request.method().to_string(), body: None });
            read.len() - 1
        };
        async move {
            if let Some(body) = collected(request.into_body()).await {
                read.lock().expect("no panic")[at].body = Some(body);
            }
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(bytes).await.expect("there is room");
    client.shutdown().await.expect("it is open");
    let mut http1 = hyper::server::conn::http1::Builder::new();
    let serving = http1.half_close(true).serve_connection(TokioIo::new(server), service);
    // It may end with its reading of the last request.
    let _ = serving.await;
    let mut answers = Vec::new();
    let _ = client.read_to_end(&mut answers).await;
    let read = read.lock().expect("no panic");
    read.clone()
}

async fn collected(mut body: Incoming) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        let bytes: Bytes = frame.ok()?.into_data().unwrap_or_default();
        data.extend_from_slice(&bytes);
    }
    Some(data)
}

#[test]
fn hyper_reads_every_request_that_we_would_route() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let usual = ProptestConfig::default();
    let config = ProptestConfig { cases: CASES.max(usual.cases), failure_persistence: None, ..usual };
    let agreed = Cell::new(0);
    let outcome = TestRunner::new(config).run(&requests(), |bytes| {
        let (ours, hypers) = (ours(&bytes), runtime.block_on(hypers(&bytes)));
        for (at, ours) in ours.iter().enumerate() {
            let Some(hypers) = hypers.get(at) else {
                let refused =
                    format!("hyper refuses request {at}, which we would route: {}", bytes.escape_ascii());
                return Err(TestCaseError::fail(refused));
            };
            prop_assert_eq!(&ours.method, &hypers.method, "request {} of {}", at, bytes.escape_ascii());
            if ours.body.is_some() {
                prop_assert_eq!(&ours.body, &hypers.body, "request {} of {}", at, bytes.escape_ascii());
            }
        }
        agreed.set(agreed.get() + ours.len());
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    assert!(agreed.get() > CASES as usize / 2, "most requests should be clear; only {} were", agreed.get());
}
