//! The objects that bring an agent its key and its program.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

use crate::{
    agent::AgentSource,
    error::DeployError,
    holes::{Filling, Template},
    names::Names,
};

const SECRET: Template = Template { name: "secret.yaml", text: include_str!("../objects/secret.yaml") };
const PROGRAM: Template = Template { name: "program.yaml", text: include_str!("../objects/program.yaml") };

/// The Secret with the key. `common`: the values that all objects of these agents share.
pub(crate) fn secret(common: Filling, names: &Names, key: &[u8]) -> Result<Value, DeployError> {
    SECRET.fill(&common.with("name", names.secret.as_str()).with("key", BASE64.encode(key)))
}

/// The ConfigMaps with the program; none if it comes as an image.
pub(crate) fn program(
    common: impl Fn() -> Filling,
    names: &Names,
    agent: &AgentSource,
) -> Result<Vec<Value>, DeployError> {
    let AgentSource::Carried(program) = agent else { return Ok(Vec::new()) };
    let identity = program.identity();
    program
        .maps()
        .iter()
        .enumerate()
        .map(|(index, parts)| {
            let files: Map<_, _> =
                parts.iter().map(|part| (part.key(), BASE64.encode(part.bytes).into())).collect();
            let name = names.program(&identity, index);
            PROGRAM.fill(&common().with("name", name).with("files", files))
        })
        .collect()
}
