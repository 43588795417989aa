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
}

/// A file of the program, or a part of one, in a ConfigMap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramPart<'a> {
    pub file: &'static str,
    /// The number of an agent's part, from 0, if it has several.
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
        let digest = Sha256::new().chain_update(&self.loader).chain_update(&self.agent).finalize();
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The content of each ConfigMap, in order: the loader first, then the agent, cut where necessary.
    #[must_use]
    pub fn maps(&self) -> Vec<Vec<ProgramPart<'_>>> {
        const AGENT_FILE: &str = "agent.zst";
        /// `agent.zst.99`
        const LONGEST_KEY: usize = AGENT_FILE.len() + 3;

        let loader = ProgramPart { file: LOADER_FILE, number: None, bytes: &self.loader };
        let beside_loader = CONFIG_MAP_LIMIT
            .saturating_sub(self.loader.len() + LOADER_FILE.len() + LONGEST_KEY)
            .min(self.agent.len());
        let (first, rest) = self.agent.split_at(beside_loader);
        let parts = (!first.is_empty())
            .then_some(first)
            .into_iter()
            .chain(rest.chunks(CONFIG_MAP_LIMIT - LONGEST_KEY))
            .collect::<Vec<_>>();
        let part = |index: usize| ProgramPart {
            file: AGENT_FILE,
            number: (parts.len() > 1).then_some(index),
            bytes: parts[index],
        };

        let mut maps = vec![vec![loader]];
        for index in 0..parts.len() {
            if index == 0 && !first.is_empty() {
                maps[0].push(part(index));
            } else {
                maps.push(vec![part(index)]);
            }
        }
        maps
    }
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
