//! Reads the pod's resolvers from resolv.conf(5).

use std::fs::File;
use std::io::{self, Read as _};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Real ones are shorter.
const MAX_CONF: u64 = 64 * 1024;

/// The pod's resolv.conf, if it is text of a reasonable length, else empty.
pub(super) fn text() -> String {
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the pod's resolv.conf");
        String::new()
    })
}

fn read() -> io::Result<String> {
    let mut text = String::new();
    File::open(RESOLV_CONF)?.take(MAX_CONF).read_to_string(&mut text)?;
    Ok(text)
}
