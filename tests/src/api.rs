//! The cluster's API, as the admin: plain HTTP to the one `kubectl proxy` of `tests/run`. It costs a hundredth of a
//! separate kubectl, and a suite asks some thousand times.
//!
//! Requests are HTTP/1.0, so that an answer ends with its connection and is not chunked.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

/// Longer than the API server itself is patient with a request.
const PATIENCE: Duration = Duration::from_secs(70);

/// The API server's answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: BufReader<UnixStream>,
}

/// An object, or a list of objects.
///
/// # Panics
///
/// With the API server's reason, if there is none.
#[must_use]
pub fn get(path: &str) -> Value {
    json("GET", path, None)
}

/// Creates an object in the collection at `path`, and returns it as it is then.
///
/// # Panics
///
/// With the API server's reason, if it is refused.
pub fn create(path: &str, object: &Value) -> Value {
    json("POST", path, Some(object))
}

/// Deletes an object, or those of a collection, if they exist. Failures are ignored: it is for a test's remains.
pub fn discard(path: &str) {
    // Its end is not waited for either.
    let _ = send("DELETE", path, None);
}

/// The lines of an endless answer, such as a followed log; and the means to end it.
///
/// # Errors
///
/// The API server's reason, if there is none.
pub fn follow(path: &str) -> Result<(impl Iterator<Item = String> + Send + use<>, UnixStream)> {
    let answer = send("GET", path, None)?;
    if answer.status != 200 {
        return Err(Error::other(format!("{} {}", answer.status, text(answer.body)?)));
    }
    let stream = answer.body.get_ref();
    stream.set_read_timeout(None)?;
    let end = stream.try_clone()?;
    Ok((answer.body.lines().map_while(Result::ok), end))
}

fn json(method: &str, path: &str, body: Option<&Value>) -> Value {
    let answered = send(method, path, body).and_then(|answer| {
        let body = text(answer.body)?;
        match answer.status {
            200..300 => Ok(serde_json::from_str(&body)?),
            status => Err(Error::other(format!("{status} {body}"))),
        }
    });
    answered.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

fn send(method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
    let no_proxy = || Error::other("BRIDGE_TEST_API names no kubectl proxy: tests/run starts one");
    let mut stream = UnixStream::connect(std::env::var_os("BRIDGE_TEST_API").ok_or_else(no_proxy)?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let request = [
        format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n"),
        format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"),
    ];
    stream.write_all(request.concat().as_bytes())?;

    let mut body = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if body.read_line(&mut head)? == 0 {
            return Err(Error::other(format!("the answer ends after {head:?}")));
        }
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer { status: status.ok_or_else(|| Error::other(head))?, body })
}

fn text(mut body: impl Read) -> Result<String> {
    let mut text = String::new();
    body.read_to_string(&mut text)?;
    Ok(text)
}
