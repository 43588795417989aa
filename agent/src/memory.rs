//! The memory that this process may have, by its control group, and its division.

use std::fs;
use std::path::{Component, Path, PathBuf};

const MIB: u64 = 1 << 20;
/// Assumed if nothing limits the process: what stand-ins give their pods.
const UNLIMITED: u64 = 512 * MIB;
/// No more is used, and a process with less does not run.
const MOST: u64 = 8192 * MIB;
const LEAST: u64 = 64 * MIB;
/// Version 1 expresses "no limit" as a number of this size.
const NO_LIMIT: u64 = 1 << 60;

const ROOT: &str = "/sys/fs/cgroup";

/// The division of the memory, in bytes. The rest is for callers' connections and for the program itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The memory that all sessions may hold together.
    pub(crate) sessions: u64,
    /// The memory that other callers' streams may hold while their receivers stall.
    pub(crate) stalled: u64,
}

impl Memory {
    /// Divides the process's memory. `None`: nothing limits it.
    pub(crate) fn parted(limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(UNLIMITED).clamp(LEAST, MOST);
        Self { sessions: limit / 2, stalled: limit / 4 }
    }
}

/// The limit of this process's control group, if it has one.
pub(crate) fn limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_below(Path::new(ROOT), &own)
}

/// The lowest limit of the groups that a process is in, as far as they are visible. `own` is as in cgroups(7): lines of
/// HIERARCHY:CONTROLLERS:PATH.
fn limit_below(root: &Path, own: &str) -> Option<u64> {
    let files = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        match (hierarchy, controllers) {
            ("0", "") => Some((root.to_owned(), path, "memory.max")),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some((root.join("memory"), path, "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    files
        .flat_map(|(root, path, file)| groups(&root, path).map(move |group| group.join(file)))
        .filter_map(read)
        .min()
}

/// A group and those that it is in. In a container the root may be the group itself, whatever its path is.
fn groups(root: &Path, path: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let mut names: Vec<_> =
        Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let mut all = vec![root.to_owned()];
    while !names.is_empty() {
        all.push(names.iter().fold(root.to_owned(), |group, name| group.join(name)));
        names.pop();
    }
    all.into_iter()
}

fn read(file: PathBuf) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|&limit| limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_holds_wherever_it_is_set() {
        let v2 = "0::/kubepods/pod7/agent\n";
        let v1 = "5:cpu,cpuacct:/kubepods/pod7/agent\n4:memory:/kubepods/pod7/agent\n0::/\n";
        type Files<'a> = &'a [(&'a str, &'a str)];
        let cases: [(&str, Files<'_>, Option<u64>); 10] = [
            // In a container with a namespace of its own, and in one without.
            ("0::/\n", &[("memory.max", "536870912\n")], Some(512 * MIB)),
            (v2, &[("kubepods/pod7/agent/memory.max", "536870912\n")], Some(512 * MIB)),
            // The pod's limit is the container's, too.
            (
                v2,
                &[("kubepods/pod7/memory.max", "268435456"), ("kubepods/pod7/agent/memory.max", "max\n")],
                Some(256 * MIB),
            ),
            ("0::/../other\n", &[("memory.max", "268435456")], Some(256 * MIB)),
            (v1, &[("memory/memory.limit_in_bytes", "536870912\n")], Some(512 * MIB)),
            (v1, &[("memory/kubepods/pod7/agent/memory.limit_in_bytes", "1048576")], Some(MIB)),
            // No limit.
            (v2, &[("kubepods/pod7/agent/memory.max", "max\n")], None),
            (v1, &[("memory/memory.limit_in_bytes", "9223372036854771712\n")], None),
            ("", &[("memory.max", "536870912")], None),
            ("nonsense", &[], None),
        ];
        for (own, files, expected) in cases {
            let root = tempfile::tempdir().expect("a directory");
            for (path, text) in files {
                let file = root.path().join(path);
                fs::create_dir_all(file.parent().expect("below the root")).expect("a directory");
                fs::write(file, text).expect("a file");
            }
            assert_eq!(limit_below(root.path(), own), expected, "{own:?} {files:?}");
        }
    }

    #[test]
    fn half_is_for_sessions_and_a_quarter_for_stalled_data() {
        let parted = |limit| Memory::parted(limit);
        assert_eq!(parted(Some(512 * MIB)), Memory { sessions: 256 * MIB, stalled: 128 * MIB });
        assert_eq!(parted(None), parted(Some(512 * MIB)));
        assert_eq!(parted(Some(0)), parted(Some(LEAST)));
        assert_eq!(parted(Some(u64::MAX)), parted(Some(MOST)));
    }
}
