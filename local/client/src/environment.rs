//! The caller's environment, which the daemon does not have.

use std::collections::HashMap;
use std::ffi::OsString;

/// The environment of this process, for credential plugins and proxies.
#[must_use]
pub fn environment() -> HashMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// Values that are not UTF-8 cannot be sent; no known credential plugin needs such a variable.
fn text(value: OsString) -> Option<String> {
    value.into_string().ok()
}
