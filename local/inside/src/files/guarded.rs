//! Places on this machine that no volume may cover: anyone who may edit the workload chooses where a volume is mounted.
//! Pure, except for `here`, which asks this process.
//!
//! A volume is shown only at places that this machine's programs do not read: not over the system's directories, the
//! user's home, the working directory or directories that the environment names, not within them, and not around them.
//! Volumes kept from their own paths are still in the directory that the command gets.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// No volume may be here or below: programs, libraries, devices.
const CLOSED: [&str; 15] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sys",
    "/dev",
    "/boot",
    "/nix",
    "/gnu",
    "/snap",
    "/lost+found",
];
/// No volume may cover these, or be around them.
const PARENTS: [&str; 18] = [
    "/etc",
    "/run",
    "/var",
    "/var/run",
    "/var/lib",
    "/var/lock",
    "/var/tmp",
    "/var/log",
    "/var/cache",
    "/var/opt",
    "/var/spool",
    "/var/www",
    "/tmp",
    "/home",
    "/root",
    "/opt",
    "/srv",
    "/mnt",
];
/// Only new names may be added to these.
const NEW_NAMES_IN: [&str; 7] =
    ["/var", "/var/lib", "/var/log", "/var/cache", "/var/opt", "/var/tmp", "/var/www"];
/// The only place for volumes in `/run`, where Kubernetes has its tokens.
const RUN_SECRETS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];
const RUN: [&str; 2] = ["/run", "/var/run"];
/// Directories of `/etc` that programs read, whether this machine has them or not.
const READ_IN_ETC: &str = "
    alternatives ansible apparmor apparmor.d apt bash bash_completion.d binfmt.d ca-certificates conda containers
    cron.d crypto-policies dbus-1 default docker dotnet emacs environment.d fish fonts gconv git glvnd gnutls gss
    gtk-2.0 gtk-3.0 gtk-4.0 init.d ipython java jupyter krb5.conf.d ld.so.conf.d lib lynx maven modprobe.d mono mysql nix npm
    OpenCL openldap openssl opt pam.d perl perl5 php pip pkcs11 pki polkit-1 profile.d python python3 R rc.d ruby sasl2
    security skel ssh ssl sudo.conf.d sudoers.d sysctl.d systemd terminfo udev uv vim vulkan X11 xdg zsh";
/// Names that tools look for in each directory from the working directory upwards, besides files and hidden names.
const LOOKED_FOR_UPWARDS: [&str; 1] = ["node_modules"];

#[derive(Debug, Default)]
pub(super) struct Guarded {
    /// Home, the working directory, and the directories that the environment names: no volume there, below or around.
    own: BTreeSet<PathBuf>,
    /// From the working directory upwards.
    upwards: BTreeSet<PathBuf>,
}

/// The place of a volume.
#[derive(Debug)]
pub(super) struct Spot<'a> {
    /// The part of its path that exists on this machine, without links,
    pub(super) there: &'a Path,
    /// and the missing part; empty: it would hide something.
    pub(super) missing: &'a Path,
    pub(super) is_file: bool,
}

impl Guarded {
    /// The guarded places of this process.
    pub(super) fn here() -> Self {
        let folder = std::env::current_dir().unwrap_or_default();
        let variables = std::env::vars_os();
        let named = variables.flat_map(|(_, value)| std::env::split_paths(&value).collect::<Vec<_>>());
        Self::of(&folder, named.chain(std::env::home_dir()))
    }

    pub(super) fn of(folder: &Path, named: impl Iterator<Item = PathBuf>) -> Self {
        let is_parent =
            |path: &Path| path.parent().is_none() || PARENTS.iter().any(|it| path == Path::new(it));
        // The target of a link is guarded as well.
        let both = |path: PathBuf| [std::fs::canonicalize(&path).ok(), Some(path)].into_iter().flatten();
        // The end of a URL is no path.
        let is_path = |path: &PathBuf| path.is_absolute() && !path.as_os_str().as_bytes().starts_with(b"//");
        let own = named.chain([folder.to_owned()]).filter(is_path);
        Self {
            own: own.flat_map(both).map(|path| lower(&path)).filter(|path| !is_parent(path)).collect(),
            upwards: folder.ancestors().map(lower).collect(),
        }
    }

    /// Whether no volume may be here.
    pub(super) fn keeps(&self, spot: &Spot<'_>) -> bool {
        let exists = spot.missing.as_os_str().is_empty();
        let there = lower(spot.there);
        let at = if exists { there.clone() } else { there.join(lower(spot.missing)) };
        let is_around = |kept: &Path| kept.starts_with(&at);
        let closed = CLOSED.iter().map(Path::new).chain(self.own.iter().map(PathBuf::as_path));
        let mut closed = closed.map(|kept| (kept, at.starts_with(kept)));
        if closed.any(|(kept, is_within)| is_within || is_around(kept))
            || PARENTS.iter().any(|parent| is_around(Path::new(parent)))
        {
            return true;
        }
        let first = spot.missing.components().next();
        let is_new_in = |parents: &[&str]| !exists && parents.iter().any(|parent| there == Path::new(parent));
        let is_new_file = spot.is_file && spot.missing.components().count() == 1;
        if within(&at, &["/etc"]) {
            return is_new_file || !is_new_in(&["/etc"]) || first.is_some_and(is_read_in_etc);
        }
        if within(&at, &RUN) {
            return exists || !within(&at, &RUN_SECRETS);
        }
        if within(&at, &["/var"]) {
            return !is_new_in(&NEW_NAMES_IN);
        }
        let is_looked_for = |name: Component<'_>| {
            let name = name.as_os_str().to_string_lossy();
            name.starts_with('.') || LOOKED_FOR_UPWARDS.iter().any(|it| it.eq_ignore_ascii_case(&name))
        };
        self.upwards.contains(&there) && (is_new_file || first.is_some_and(is_looked_for))
    }
}

fn within(path: &Path, parents: &[&str]) -> bool {
    parents.iter().any(|parent| path.starts_with(parent))
}

fn is_read_in_etc(name: Component<'_>) -> bool {
    let name = name.as_os_str().to_string_lossy();
    name.starts_with('.') || READ_IN_ETC.split_whitespace().any(|read| read.eq_ignore_ascii_case(&name))
}

/// Some file systems take two spellings for one name.
fn lower(path: &Path) -> PathBuf {
    path.as_os_str().to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded() -> Guarded {
        let named = ["/home/anna", "/opt/jdk/bin", "/tmp", "relative", "/", "/media/Data/lib", "//config/x"];
        Guarded::of(Path::new("/code/shop/api"), named.into_iter().map(PathBuf::from))
    }

    fn keeps(there: &str, missing: &str, is_file: bool) -> bool {
        guarded().keeps(&Spot { there: Path::new(there), missing: Path::new(missing), is_file })
    }

    #[test]
    fn nothing_covers_places_of_the_machine_or_the_user() {
        for (there, missing) in [
            ("/", ""),
            ("/etc", ""),
            ("/etc", "profile.d"),
            ("/etc", "Profile.d/x"),
            ("/etc/profile.d", "evil"),
            ("/etc/ssl/certs", ""),
            ("/etc/nginx", "conf.d"),
            ("/usr", ""),
            ("/usr", "local/lib/x"),
            ("/usr/share", "shop"),
            ("/bin", ""),
            ("/lib64", "x"),
            ("/proc/self", "x"),
            ("/dev/shm", "x"),
            ("/boot", ""),
            ("/run", ""),
            ("/run", "shop"),
            ("/run/user/1000", "x"),
            ("/run/secrets", ""),
            ("/var", ""),
            ("/var/lib", ""),
            ("/var/lib/gems", "x"),
            ("/var/lib/dpkg", ""),
            ("/tmp", ""),
            ("/home", ""),
            ("/home/anna", ""),
            ("/home/anna", ".ssh"),
            ("/home/anna/src", "x"),
            ("/HOME/Anna", "x"),
            ("/code", ""),
            ("/code/shop/api", ""),
            ("/code/shop/api", "config"),
            ("/code/shop", "node_modules/left-pad"),
            ("/", "node_modules"),
            ("/", ".cargo"),
            ("/opt/jdk", ""),
            ("/opt/jdk/bin", "x"),
            ("/opt/jdk", "bin"),
            ("/", "media/data/LIB/x"),
            ("/", "media"),
        ] {
            assert!(keeps(there, missing, false), "{there} and {missing}");
        }
    }

    #[test]
    fn no_single_file_comes_where_programs_look_for_one() {
        for (there, missing) in [
            ("/etc", "ld.so.preload"),
            ("/etc/passwd", ""),
            ("/etc", "gitconfig"),
            ("/etc/ssh/ssh_config.d", "x.conf"),
            ("/", "go.mod"),
            ("/code", "Cargo.toml"),
            ("/code/shop", ".envrc"),
            ("/run", "nologin"),
            ("/home/anna/.bashrc", ""),
        ] {
            assert!(keeps(there, missing, true), "{there} and {missing}");
        }
    }

    #[test]
    fn an_application_s_own_places_are_shown() {
        for (there, missing, is_file) in [
            ("/etc", "shop", false),
            ("/etc", "shop/menu.txt", true),
            ("/run", "secrets/kubernetes.io/serviceaccount", false),
            ("/run/secrets", "kubernetes.io/serviceaccount", false),
            ("/", "config", false),
            ("/", "app/config/settings.yaml", true),
            ("/opt", "shop", false),
            ("/opt/shop", "config", false),
            ("/srv", "data", false),
            ("/var/lib", "shop", false),
            ("/tmp", "shop", false),
            ("/home", "node/app", false),
            ("/code/other", "x", false),
            ("/data", "", false),
        ] {
            assert!(!keeps(there, missing, is_file), "{there} and {missing}");
        }
    }

    #[test]
    fn this_process_keeps_its_own() {
        let folder = std::env::current_dir().unwrap();
        assert!(Guarded::here().keeps(&Spot { there: &folder, missing: Path::new("x"), is_file: false }));
    }
}
