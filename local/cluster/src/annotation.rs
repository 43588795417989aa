//! Reads our own annotations of an object: JSON with a version, of a bounded length. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::unquoted;

/// The part that every version has.
#[derive(Deserialize)]
struct Written {
    version: u64,
}

/// Reads an annotation, if the object has it. `version`: the greatest that this program knows; `most_bytes`: longer ones
/// are not read.
///
/// # Errors
///
/// Why it cannot be read.
pub(crate) fn read<T: DeserializeOwned>(
    object: &ObjectMeta,
    name: &str,
    version: u64,
    most_bytes: usize,
) -> Result<Option<T>, String> {
    let Some(text) = object.annotations.as_ref().and_then(|all| all.get(name)) else { return Ok(None) };
    if text.len() > most_bytes {
        return Err(format!("it has more than {} KiB", most_bytes / 1024));
    }
    let written: Written = serde_json::from_str(text).map_err(|error| unquoted::json(&error))?;
    if written.version > version {
        return Err(format!("a newer bridge wrote it (version {})", written.version));
    }
    serde_json::from_str(text).map(Some).map_err(|error| unquoted::json(&error))
}
