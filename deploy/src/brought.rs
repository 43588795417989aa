//! The objects that bring an agent its key and its program.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

use crate::{
    agent::AgentSource,
    error::DeployError,
    holes::{Filling, Template},
    names::Names,
    program::ProgramPart,
    restore::Restore,
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
    maps(common, names, &program.identity(), &program.maps())
}

/// The ConfigMaps with the program by which agents restore what they are part of; none if they never do, or come as an
/// image.
pub(crate) fn restorer(
    common: impl Fn() -> Filling,
    names: &Names,
    agent: &AgentSource,
    restore: Option<Restore>,
) -> Result<Vec<Value>, DeployError> {
    match (agent, restore) {
        (AgentSource::Carried(program), Some(_)) => {
            maps(common, names, &program.restorer_identity(), &program.restorer_maps())
        }
        _ => Ok(Vec::new()),
    }
}

fn maps(
    common: impl Fn() -> Filling,
    names: &Names,
    identity: &str,
    maps: &[Vec<ProgramPart<'_>>],
) -> Result<Vec<Value>, DeployError> {
    maps.iter()
        .enumerate()
        .map(|(index, parts)| {
            let files: Map<_, _> =
                parts.iter().map(|part| (part.key(), BASE64.encode(part.bytes).into())).collect();
            let name = names.program(identity, index);
            PROGRAM.fill(&common().with("name", name).with("files", files))
        })
        .collect()
}
