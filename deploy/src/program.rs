//! The agent program on its way to the pods: a loader and the compressed agent, in ConfigMaps of at most 1 MiB.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// The API server's limit for one ConfigMap (`MaxSecretSize`). It counts the values; we count the keys as well.
const CONFIG_MAP_LIMIT: usize = 1024 * 1024;

pub(crate) const LOADER_FILE: &str = "loader";

/// The program that the client carries, for pods on one kind of node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// As in the label `kubernetes.io/arch`: "amd64".
    pub architecture: String,
    /// As in the label `kubernetes.io/os`: "linux".
    pub os: String,
    /// A static executable that unpacks the agent and becomes it.
    pub loader: Cow<'static, [u8]>,
    /// The agent, compressed with zstd.
    pub agent: Cow<'static, [u8]>,
    /// The program by which agents restore what they are part of, likewise; the loader starts it, too.
    pub restorer: Cow<'static, [u8]>,
}

/// A file of the program, or a part of one, in a ConfigMap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramPart<'a> {
    pub file: &'static str,
    /// The number of a program's part, from 0, if it has several.
    pub number: Option<usize>,
    pub bytes: &'a [u8],
}

impl ProgramPart<'_> {
    /// The key in the ConfigMap, and the name of the mounted file.
    #[must_use]
    pub fn key(&self) -> String {
        match self.number {
            Some(number) => format!("{}.{number}", self.file),
            None => self.file.to_owned(),
        }
    }
}

impl Program {
    /// Distinguishes programs: part of the names of their ConfigMaps.
    #[must_use]
    pub fn identity(&self) -> String {
        short(Sha256::new().chain_update(&self.loader).chain_update(&self.agent))
    }

    /// The content of each ConfigMap, in order: the loader first, then the agent, cut where necessary.
    #[must_use]
    pub fn maps(&self) -> Vec<Vec<ProgramPart<'_>>> {
        let loader = ProgramPart { file: LOADER_FILE, number: None, bytes: &self.loader };
        cut(Some(loader), "agent.zst", &self.agent)
    }

    /// The same of the restorer.
    #[must_use]
    pub fn restorer_identity(&self) -> String {
        short(Sha256::new().chain_update(&self.restorer))
    }

    /// The same of the restorer, which has no loader of its own.
    #[must_use]
    pub fn restorer_maps(&self) -> Vec<Vec<ProgramPart<'_>>> {
        cut(None, "restorer.zst", &self.restorer)
    }
}

fn short(digest: Sha256) -> String {
    digest.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Cuts a program, where necessary, into ConfigMaps; the first one begins with `first`.
fn cut<'a>(
    first: Option<ProgramPart<'a>>,
    file: &'static str,
    program: &'a [u8],
) -> Vec<Vec<ProgramPart<'a>>> {
    let longest_key = file.len() + ".99".len();
    let room = CONFIG_MAP_LIMIT - longest_key;
    let beside = first.map_or(0, |first| room.saturating_sub(first.file.len() + first.bytes.len()));
    let (beside, rest) = program.split_at(beside.min(program.len()));
    let parts: Vec<&[u8]> =
        (!beside.is_empty()).then_some(beside).into_iter().chain(rest.chunks(room)).collect();
    let mut maps: Vec<Vec<_>> = first.map(|first| vec![first]).into_iter().collect();
    for (index, bytes) in parts.iter().enumerate() {
        let part = ProgramPart { file, number: (parts.len() > 1).then_some(index), bytes };
        match maps.first_mut() {
            Some(map) if index == 0 && !beside.is_empty() => map.push(part),
            _ => maps.push(vec![part]),
        }
    }
    maps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn program(loader: usize, agent: usize) -> Program {
        Program {
            architecture: "amd64".into(),
            os: "linux".into(),
            loader: vec![b'l'; loader].into(),
            agent: (0..agent).map(|i| (i % 251) as u8).collect::<Vec<_>>().into(),
            restorer: Vec::new().into(),
        }
    }

    fn keys(program: &Program) -> Vec<Vec<String>> {
        program.maps().iter().map(|map| map.iter().map(ProgramPart::key).collect()).collect()
    }

    #[test]
    fn a_small_program_is_one_map() {
        assert_eq!(keys(&program(30_000, 950_000)), [["loader", "agent.zst"]]);
    }

    #[test]
    fn a_large_program_is_cut() {
        assert_eq!(keys(&program(30_000, 1_100_000)), [vec!["loader", "agent.zst.0"], vec!["agent.zst.1"]]);
    }

    #[test]
    fn the_restorer_has_maps_of_its_own() {
        let of = |size| Program { restorer: vec![b'r'; size].into(), ..program(30_000, 950_000) };
        let keys = |program: &Program| -> Vec<Vec<String>> {
            program.restorer_maps().iter().map(|map| map.iter().map(ProgramPart::key).collect()).collect()
        };
        assert_eq!(keys(&of(0)), Vec::<Vec<String>>::new());
        assert_eq!(keys(&of(1_000_000)), [["restorer.zst"]]);
        assert_eq!(keys(&of(2_000_000)), [["restorer.zst.0"], ["restorer.zst.1"]]);
        assert_ne!(of(1).restorer_identity(), of(2).restorer_identity());
        assert_eq!(of(1).identity(), of(2).identity(), "the agent is the same");
    }

    #[test]
    fn programs_are_distinguished() {
        assert_eq!(program(1, 2).identity(), program(1, 2).identity());
        assert_ne!(program(1, 2).identity(), program(1, 3).identity());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn no_map_is_too_large_and_no_byte_is_lost(loader in 0usize..1_048_560, agent in 1usize..4_000_000) {
            let program = program(loader, agent);
            let maps = program.maps();
            for map in &maps {
                let size: usize = map.iter().map(|part| part.key().len() + part.bytes.len()).sum();
                prop_assert!(size <= CONFIG_MAP_LIMIT, "{}", size);
            }
            let parts: Vec<_> = maps.iter().flatten().skip(1).collect();
            let joined: Vec<u8> = parts.iter().flat_map(|part| part.bytes.iter().copied()).collect();
            prop_assert!(joined == program.agent.as_ref());
            let mut keys: Vec<_> = maps.iter().flatten().map(ProgramPart::key).collect();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), parts.len() + 1);
        }
    }
}
