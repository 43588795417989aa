//! The files as a command sees them. A volume is put together aside and then moved into its place so that a reader
//! finds either the old or the new one, never something between: as the kubelet does, which switches the link `..data`
//! last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bridge_os::beneath::{Directory, Name};

/// The previous target of a link stays this long for a reader that is on its way there.
const GRACE: Duration = Duration::from_secs(1);
/// The link by which the kubelet switches a volume.
const CURRENT: &[u8] = b"..data";

/// The names of a path, from the root on.
pub(super) type Names = Vec<Name>;

#[derive(Debug)]
pub(super) struct Tree {
    root: Directory,
    /// The place where volumes are put together, and where replaced ones go; on the same file system.
    incoming: Aside,
    discarded: Aside,
    volumes: BTreeSet<Names>,
    /// Directories to which no link leads any more, with the time of that.
    replaced: BTreeMap<Names, Instant>,
}

#[derive(Debug)]
struct Aside {
    path: PathBuf,
    directory: Directory,
}

impl Aside {
    fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self { directory: Directory::open(&path)?, path })
    }

    fn clear(&self) -> io::Result<()> {
        for name in self.directory.names()? {
            let path = self.path.join(name.as_os_str());
            if self.directory.has_directory(&name)? == Some(true) {
                fs::remove_dir_all(path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// The directory that the command gets.
pub(super) fn root(place: &Path) -> PathBuf {
    place.join("root")
}

impl Tree {
    /// In an empty directory that the user owns.
    pub(super) fn make(place: &Path) -> io::Result<Self> {
        Ok(Self {
            root: Aside::make(root(place))?.directory,
            incoming: Aside::make(place.join("incoming"))?,
            discarded: Aside::make(place.join("discarded"))?,
            volumes: BTreeSet::new(),
            replaced: BTreeMap::new(),
        })
    }

    /// The place where a volume is put together, under its last name. A previous volume that was not installed is
    /// removed.
    pub(super) fn incoming(&self) -> io::Result<&Directory> {
        self.incoming.clear()?;
        Ok(&self.incoming.directory)
    }

    /// Moves the finished volume into its place.
    pub(super) fn install(&mut self, volume: &[Name], now: Instant) -> io::Result<()> {
        let Some((_, parents)) = volume.split_last() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut to = self.root.try_clone()?;
        for parent in parents {
            to = if to.has_directory(parent)?.is_some() { to.child(parent)? } else { to.make(parent)? };
        }
        let mut replaced = Vec::new();
        self.place(&self.incoming.directory, &to, volume, &mut replaced)?;
        self.replaced.retain(|path, _| !path.starts_with(volume) || replaced.contains(path));
        for path in replaced {
            self.replaced.entry(path).or_insert(now);
        }
        self.volumes.insert(volume.to_vec());
        self.incoming.clear()
    }

    /// Removes old directories that were replaced a while ago; returns when there is more to remove.
    pub(super) fn sweep(&mut self, now: Instant) -> io::Result<Option<Instant>> {
        let over: Vec<Names> = self
            .replaced
            .iter()
            .filter(|(_, since)| now >= **since + GRACE)
            .map(|(path, _)| path.clone())
            .collect();
        for path in over {
            self.replaced.remove(&path);
            self.remove(&path)?;
        }
        Ok(self.replaced.values().min().map(|since| *since + GRACE))
    }

    fn remove(&self, path: &[Name]) -> io::Result<()> {
        let Some((name, parents)) = path.split_last() else { return Ok(()) };
        let mut from = self.root.try_clone()?;
        for parent in parents {
            from = from.child(parent)?;
        }
        self.discard(&from, name)
    }

    /// Replaces one entry; its name is the last of `path`.
    fn place(
        &self,
        from: &Directory,
        to: &Directory,
        path: &[Name],
        replaced: &mut Vec<Names>,
    ) -> io::Result<()> {
        let Some(name) = path.last() else { return Ok(()) };
        match (from.has_directory(name)?, to.has_directory(name)?) {
            // Nothing came, as none of it could be read.
            (None, _) => return Ok(()),
            (Some(true), Some(true)) => {
                return self.merge(&from.child(name)?, &to.child(name)?, path, replaced);
            }
            (Some(false), None | Some(false)) | (Some(true), None) => {}
            (Some(true), Some(false)) | (Some(false), Some(true)) => self.discard(to, name)?,
        }
        from.rename(name, to)
    }

    /// New entries come first, then the link that leads to them, then other links; removed entries go last.
    fn merge(
        &self,
        from: &Directory,
        to: &Directory,
        path: &[Name],
        replaced: &mut Vec<Names>,
    ) -> io::Result<()> {
        let below = |name: &Name| [path, std::slice::from_ref(name)].concat();
        let coming = in_order(from, to)?;
        for name in &coming {
            // Another volume that is mounted within this one.
            if !self.volumes.contains(&below(name)) {
                self.place(from, to, &below(name), replaced)?;
            }
        }
        for name in to.names()?.iter().filter(|name| !coming.contains(name)) {
            let path = below(name);
            if self.volumes.iter().any(|volume| volume.starts_with(&path)) {
                continue;
            }
            if is_generation(name) && to.has_directory(name)? == Some(true) {
                replaced.push(path);
            } else {
                self.discard(to, name)?;
            }
        }
        to.set_mode(from.mode()?)
    }

    fn discard(&self, from: &Directory, name: &Name) -> io::Result<()> {
        if from.has_directory(name)? == Some(true) {
            from.rename(name, &self.discarded.directory)?;
            self.discarded.clear()
        } else {
            from.unlink(name)
        }
    }
}

fn in_order(from: &Directory, to: &Directory) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for name in from.names()? {
        let is_new = from.has_directory(&name)? == Some(true) && to.has_directory(&name)?.is_none();
        names.push((!is_new, name.as_bytes() != CURRENT, name));
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|(_, _, name)| name).collect())
}

/// Whether it is one of the kubelet's directories with the files of one time: `..2026_11_22_08_00_00.123456789`.
fn is_generation(name: &Name) -> bool {
    name.as_bytes().starts_with(b"..")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use tempfile::TempDir;

    use super::*;

    fn names(path: &str) -> Names {
        path.split('/').map(|name| Name::new(name.as_bytes()).unwrap()).collect()
    }

    struct Place {
        place: TempDir,
        tree: Tree,
        now: Instant,
    }

    impl Place {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let tree = Tree::make(place.path()).unwrap();
            Self { place, tree, now: Instant::now() }
        }

        fn at(&self, path: &str) -> PathBuf {
            root(self.place.path()).join(path)
        }

        /// Puts a volume together with `make`, and installs it.
        fn install(&mut self, volume: &str, make: impl FnOnce(&Path)) {
            let volume = names(volume);
            let name = volume.last().unwrap();
            self.tree.incoming().unwrap();
            make(&self.place.path().join("incoming").join(name.as_os_str()));
            self.tree.install(&volume, self.now).unwrap();
        }

        /// A volume as the kubelet writes it, with the same text in all files.
        fn install_generation(&mut self, generation: &str, files: &[&str]) {
            self.install("etc/shop", |volume| {
                fs::create_dir_all(volume.join(generation)).unwrap();
                symlink(generation, volume.join("..data")).unwrap();
                for file in files {
                    fs::write(volume.join(generation).join(file), generation).unwrap();
                    symlink(format!("..data/{file}"), volume.join(file)).unwrap();
                }
            });
        }

        fn listed(&self, path: &str) -> Vec<String> {
            let entries = fs::read_dir(self.at(path)).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_volume_is_exchanged_as_the_kubelet_does_it() {
        let mut place = Place::new();
        place.install_generation("..1", &["token", "old"]);
        place.install_generation("..2", &["token", "new"]);
        assert_eq!(
            place.listed("etc/shop"),
            ["..1", "..2", "..data", "new", "token"],
            "the former stays for a while"
        );
        assert_eq!(fs::read_to_string(place.at("etc/shop/token")).unwrap(), "..2");
        let soon = place.tree.sweep(place.now).unwrap().unwrap();
        assert_eq!(place.tree.sweep(soon).unwrap(), None);
        assert_eq!(place.listed("etc/shop"), ["..2", "..data", "new", "token"]);
    }

    #[test]
    fn a_volume_that_is_sent_again_stays() {
        let mut place = Place::new();
        place.install_generation("..1", &["token"]);
        place.install_generation("..2", &["token"]);
        place.install_generation("..1", &["token"]);
        place.install_generation("..1", &["token"]);
        place.tree.sweep(place.now + GRACE).unwrap();
        assert_eq!(place.listed("etc/shop"), ["..1", "..data", "token"]);
        assert_eq!(fs::read_to_string(place.at("etc/shop/token")).unwrap(), "..1");
    }

    #[test]
    fn a_reader_never_finds_less_than_a_whole_file() {
        let mut place = Place::new();
        place.install_generation("..0", &["token"]);
        let (path, done) = (place.at("etc/shop/token"), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = BTreeSet::new();
                while !done.load(Ordering::Relaxed) {
                    seen.insert(fs::read_to_string(&path).expect("it is always there"));
                }
                seen
            });
            // Time stands still: a reader may be on its way to any of them.
            for generation in 1..500 {
                place.install_generation(&format!("..{generation}"), &["token"]);
                place.tree.sweep(place.now).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            let seen = reader.join().unwrap();
            assert!(seen.len() > 1, "some were seen");
            assert!(seen.iter().all(|said| said.starts_with("..")), "{seen:?}");
        });
    }

    #[test]
    fn a_volume_without_generations_is_exchanged_file_by_file() {
        let mut place = Place::new();
        place.install("data", |volume| {
            fs::create_dir_all(volume.join("a/b")).unwrap();
            fs::write(volume.join("a/b/c"), "one").unwrap();
            fs::write(volume.join("file"), "one").unwrap();
        });
        place.install("data", |volume| {
            fs::create_dir_all(volume.join("file")).unwrap();
            fs::write(volume.join("a"), "two").unwrap();
            fs::set_permissions(volume, fs::Permissions::from_mode(0o755)).unwrap();
        });
        assert_eq!(place.listed("data"), ["a", "file"]);
        assert!(place.at("data/file").is_dir());
        assert_eq!(fs::read_to_string(place.at("data/a")).unwrap(), "two");
        assert_eq!(fs::metadata(place.at("data")).unwrap().permissions().mode() & 0o777, 0o755);
        // A single file, too.
        place.install("etc/app.conf", |volume| fs::write(volume, "one").unwrap());
        place.install("etc/app.conf", |volume| fs::write(volume, "two").unwrap());
        assert_eq!(fs::read_to_string(place.at("etc/app.conf")).unwrap(), "two");
    }

    #[test]
    fn a_volume_within_another_is_left_alone_by_it() {
        let mut place = Place::new();
        let outer = |volume: &Path| fs::create_dir_all(volume.join("deep/inner")).unwrap();
        place.install("outer/deep/inner", |volume| {
            fs::create_dir(volume).unwrap();
            fs::write(volume.join("file"), "one").unwrap();
        });
        place.install("outer", outer);
        place.install("outer", outer);
        assert_eq!(fs::read_to_string(place.at("outer/deep/inner/file")).unwrap(), "one");
        place.install("outer", |volume| fs::create_dir(volume).unwrap());
        assert_eq!(fs::read_to_string(place.at("outer/deep/inner/file")).unwrap(), "one");
    }

    #[test]
    fn no_volume_is_put_where_a_link_leads() {
        let outside = tempfile::tempdir().unwrap();
        let mut place = Place::new();
        place.install("outer", |volume| {
            fs::create_dir(volume).unwrap();
            symlink(outside.path(), volume.join("out")).unwrap();
        });
        let volume = names("outer/out/inner");
        place.tree.incoming().unwrap();
        fs::write(place.place.path().join("incoming/inner"), "hostile").unwrap();
        place.tree.install(&volume, place.now).unwrap_err();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
