//! Shows volumes at their own absolute paths: the steps that build a command's view of the file system.
//!
//! If this machine has a directory of that name, the volume is mounted on it. If not, none is created: the nearest
//! existing directory is covered by one in memory that shows all its entries, and the volume beside them. Entries that
//! others add to the covered directory later are not seen.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use bridge_os::view::Step;

use super::guarded::{Guarded, Spot};

/// More than any directory in which volumes are mounted.
const MOST_ENTRIES: usize = 4096;

/// Why a volume has no place of its own.
#[derive(Debug, thiserror::Error)]
pub enum NoPlace {
    #[error("{path:?} on your laptop is in the way")]
    InTheWay { path: PathBuf },
    #[error("{path:?} has more than {MOST_ENTRIES} entries, too many to show again")]
    Crowded { path: PathBuf },
    #[error("cannot read {path:?}")]
    Unreadable { path: PathBuf, source: io::Error },
}

/// The steps of the view, and their side effects that a user should know.
#[derive(Debug, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Paths of this machine that the command does not see.
    pub hidden: Vec<PathBuf>,
    /// Directories of this machine that the command sees as they were at its start.
    pub covered: Vec<PathBuf>,
    /// Volumes that are not shown there, as the place belongs to this machine.
    pub kept: Vec<PathBuf>,
}

/// Plans for volumes with these paths, which are below `root`, too. `stage` is an empty directory.
pub(super) fn plan(
    volumes: &[PathBuf],
    root: &Path,
    stage: &Path,
    guarded: &Guarded,
) -> Result<Plan, NoPlace> {
    let mut plan = Plan::default();
    let mut shown = Vec::new();
    for volume in volumes {
        let (there, missing) = nearest(volume)?;
        let is_file = !from(volume, root).is_dir();
        match guarded.keeps(&Spot { there: &there, missing: &missing, is_file }) {
            true => plan.kept.push(volume.clone()),
            false => shown.push(volume.clone()),
        }
    }
    let mut covers: BTreeMap<PathBuf, Vec<Seen>> = BTreeMap::new();
    for volume in outermost(&shown) {
        let from = from(volume, root);
        if fs::symlink_metadata(&from).is_err() {
            // Nothing of it could be read.
            continue;
        }
        let is_file = !from.is_dir();
        // An empty volume has nothing to show, and /tmp is more useful as it is.
        let is_empty = || fs::read_dir(&from).is_ok_and(|mut entries| entries.next().is_none());
        let (there, missing) = nearest(volume)?;
        if !missing.as_os_str().is_empty() {
            covers.entry(there).or_default().push(Seen { from, missing, is_file });
        } else if is_file == there.is_dir() {
            return Err(NoPlace::InTheWay { path: volume.clone() });
        } else if is_file || !is_empty() {
            if is_file || fs::read_dir(&there).map_or(true, |mut entries| entries.next().is_some()) {
                plan.hidden.push(volume.clone());
            }
            plan.steps.push(Step::Bind { from, at: there });
        }
    }
    // The innermost first: they are shown again in those around them.
    for (number, (there, seen)) in covers.into_iter().rev().enumerate() {
        let stage = stage.join(number.to_string());
        fs::create_dir(&stage).map_err(|source| NoPlace::Unreadable { path: stage.clone(), source })?;
        plan.steps.extend(cover(&there, &stage, &seen)?);
        plan.covered.push(there);
    }
    Ok(plan)
}

/// The directory with the volume's files.
fn from(volume: &Path, root: &Path) -> PathBuf {
    root.join(volume.strip_prefix("/").unwrap_or(volume))
}

/// A volume in a directory that has no entry of that name.
struct Seen {
    from: PathBuf,
    /// The path below the directory.
    missing: PathBuf,
    is_file: bool,
}

/// Without volumes inside others, which are shown with them.
fn outermost(volumes: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let is_within = |volume: &&PathBuf, other: &PathBuf| *volume != other && volume.starts_with(other);
    volumes.iter().filter(move |volume| !volumes.iter().any(|other| is_within(volume, other)))
}

/// The existing part of a path, without links, and the missing part.
fn nearest(path: &Path) -> Result<(PathBuf, PathBuf), NoPlace> {
    let mut missing = PathBuf::new();
    for there in path.ancestors() {
        let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
        match fs::canonicalize(there) {
            Ok(found) if rest.as_os_str().is_empty() || found.is_dir() => return Ok((found, missing)),
            Ok(_) => return Err(NoPlace::InTheWay { path: there.to_owned() }),
            // A dangling link exists all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(there).is_err() => {
                missing = path.strip_prefix(there.parent().unwrap_or(there)).unwrap_or(path).to_owned();
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(source) => return Err(NoPlace::Unreadable { path: there.to_owned(), source }),
        }
    }
    Ok((PathBuf::from("/"), missing))
}

/// A directory in memory with all entries of this one, and the volumes.
fn cover(there: &Path, stage: &Path, seen: &[Seen]) -> Result<Vec<Step>, NoPlace> {
    let unreadable = |source| NoPlace::Unreadable { path: there.to_owned(), source };
    let mut steps = vec![Step::Memory(stage.to_owned())];
    for (count, entry) in fs::read_dir(there).map_err(unreadable)?.enumerate() {
        if count == MOST_ENTRIES {
            return Err(NoPlace::Crowded { path: there.to_owned() });
        }
        steps.extend(again(&entry.map_err(unreadable)?, stage).map_err(unreadable)?);
    }
    let mut made: Vec<PathBuf> = Vec::new();
    for Seen { from, missing, is_file } in seen {
        let at = stage.join(missing);
        let mut parents: Vec<&Path> = at
            .ancestors()
            .skip(1)
            .take_while(|parent| parent.starts_with(stage) && *parent != stage)
            .collect();
        parents.reverse();
        for parent in parents {
            if !made.iter().any(|made| made == parent) {
                steps.push(Step::Directory(parent.to_owned()));
                made.push(parent.to_owned());
            }
        }
        steps.push(if *is_file { Step::File(at.clone()) } else { Step::Directory(at.clone()) });
        steps.push(Step::Bind { from: from.clone(), at });
    }
    steps.push(match there.parent() {
        Some(_) => Step::Move { from: stage.to_owned(), at: there.to_owned() },
        None => Step::Root(stage.to_owned()),
    });
    Ok(steps)
}

/// Shows an existing entry in the covering directory.
fn again(entry: &DirEntry, stage: &Path) -> io::Result<Vec<Step>> {
    let (from, at) = (entry.path(), stage.join(entry.file_name()));
    let kind = entry.file_type()?;
    Ok(if kind.is_symlink() {
        vec![Step::Link { target: fs::read_link(&from)?, at }]
    } else {
        let place = if kind.is_dir() { Step::Directory(at.clone()) } else { Step::File(at.clone()) };
        vec![place, Step::Bind { from, at }]
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A machine's directory, and the volumes to show in it.
    struct World {
        machine: TempDir,
        root: TempDir,
        stage: TempDir,
        volumes: Vec<PathBuf>,
        guarded: Guarded,
    }

    impl World {
        fn new() -> Self {
            let directory = || tempfile::tempdir().unwrap();
            Self {
                machine: directory(),
                root: directory(),
                stage: directory(),
                volumes: Vec::new(),
                guarded: Guarded::default(),
            }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.machine.path().canonicalize().unwrap().join(path)
        }

        fn from(&self, path: &str) -> PathBuf {
            self.root.path().join(self.at(path).strip_prefix("/").unwrap())
        }

        fn has(&self, directory: &str) -> &Self {
            fs::create_dir_all(self.at(directory)).unwrap();
            self
        }

        fn volume(&mut self, path: &str, files: &[&str]) {
            let from = self.from(path);
            fs::create_dir_all(&from).unwrap();
            for file in files {
                fs::write(from.join(file), "").unwrap();
            }
            self.volumes.push(self.at(path));
        }

        fn plan(&self) -> Result<Plan, NoPlace> {
            plan(&self.volumes, self.root.path(), self.stage.path(), &self.guarded)
        }

        fn stage(&self, path: &str) -> PathBuf {
            self.stage.path().join(path)
        }
    }

    #[test]
    fn a_volume_is_mounted_on_an_existing_directory() {
        let mut world = World::new();
        world.has("etc/shop").has("etc/ssl").has("tmp");
        fs::write(world.at("etc/ssl/own"), "").unwrap();
        world.volume("etc/shop", &["menu"]);
        world.volume("etc/ssl", &["theirs"]);
        world.volume("tmp", &[]);
        let plan = world.plan().unwrap();
        let bind = |path: &str| Step::Bind { from: world.from(path), at: world.at(path) };
        assert_eq!(plan.steps, [bind("etc/shop"), bind("etc/ssl")], "an empty one is nothing");
        assert_eq!((plan.hidden, plan.covered), (vec![world.at("etc/ssl")], vec![]));
    }

    #[test]
    fn without_a_directory_the_one_around_is_covered() {
        let mut world = World::new();
        world.has("run/own");
        fs::write(world.at("run/socket"), "").unwrap();
        symlink("own", world.at("run/link")).unwrap();
        symlink("run", world.at("var")).unwrap();
        world.volume("var/secrets/token", &["token"]);
        world.volume("var/secrets/token/within", &["x"]);
        world.volume("var/secrets/other", &["y"]);
        let plan = world.plan().unwrap();
        let stage = |path: &str| world.stage("0").join(path);
        let (first, last) = (plan.steps.first().unwrap(), plan.steps.last().unwrap());
        assert_eq!(*first, Step::Memory(world.stage("0")));
        assert_eq!(*last, Step::Move { from: world.stage("0"), at: world.at("run") });
        let mut own = plan.steps[1..6].to_vec();
        own.sort_by_key(|step| format!("{step:?}"));
        let expected = [
            Step::Bind { from: world.at("run/own"), at: stage("own") },
            Step::Bind { from: world.at("run/socket"), at: stage("socket") },
            Step::Directory(stage("own")),
            Step::File(stage("socket")),
            Step::Link { at: stage("link"), target: "own".into() },
        ];
        assert_eq!(own, expected);
        let expected = [
            Step::Directory(stage("secrets")),
            Step::Directory(stage("secrets/token")),
            Step::Bind { from: world.from("var/secrets/token"), at: stage("secrets/token") },
            Step::Directory(stage("secrets/other")),
            Step::Bind { from: world.from("var/secrets/other"), at: stage("secrets/other") },
        ];
        assert_eq!(plan.steps[6..11], expected);
        assert_eq!(plan.covered, [world.at("run")]);
    }

    #[test]
    fn a_covered_directory_within_another_is_covered_first() {
        let mut world = World::new();
        world.has("etc");
        world.volume("etc/shop", &["menu"]);
        world.volume("data", &["x"]);
        assert_eq!(world.plan().unwrap().covered, [world.at("etc"), world.at("")]);
    }

    #[test]
    fn a_file_of_this_machine_is_not_taken_for_a_directory() {
        let mut world = World::new();
        fs::write(world.at("etc"), "").unwrap();
        world.volume("etc", &["x"]);
        assert!(matches!(world.plan(), Err(NoPlace::InTheWay { .. })));
        let mut world = World::new();
        fs::write(world.at("etc"), "").unwrap();
        world.volume("etc/shop", &["x"]);
        assert!(matches!(world.plan(), Err(NoPlace::InTheWay { .. })));
    }

    #[test]
    fn the_machine_s_own_places_stay_and_other_volumes_are_shown() {
        let mut world = World::new();
        world.has("home/anna").has("opt");
        world.guarded = Guarded::of(&world.at("home/anna"), std::iter::empty());
        world.volume("home/anna/.ssh", &["config"]);
        world.volume("home", &["x"]);
        world.volume("opt/shop", &["menu"]);
        symlink("home/anna", world.at("link")).unwrap();
        world.volume("link/bin", &["ls"]);
        let plan = world.plan().unwrap();
        assert_eq!(plan.kept, [world.at("home/anna/.ssh"), world.at("home"), world.at("link/bin")]);
        assert_eq!((plan.hidden, plan.covered), (vec![], vec![world.at("opt")]));
        let steps = format!("{:?}", plan.steps);
        assert!(!steps.contains("anna") && !steps.contains("link"), "{steps}");
    }
}
