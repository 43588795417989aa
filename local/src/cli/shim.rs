//! `bridge shim`: writes an executable that runs a program in the target's place. Debuggers and editors start programs
//! themselves; they get its path for that of the interpreter or the tool.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf, absolute};

use bridge_proto::target::Target;

use super::args::ShimArgs;
use super::error::Failed;
use super::exit::Exit;
use super::output;

/// Below the current directory; nothing in it belongs into a repository.
const FOLDER: &str = ".bridge";
/// The options of `run` whose values are files. A debugger may start the shim in any directory.
const FILES: [&str; 2] = ["--env-file", "--kubeconfig"];

pub(crate) fn run(args: &ShimArgs) -> Result<(), Failed> {
    let (target, command) = (&args.run.connect.target, &args.run.command);
    let [program, arguments @ ..] = command.as_slice() else {
        return Err(Failed::new(Exit::Usage, "no program to run", "bridge shim SERVICE -- PROGRAM"));
    };
    let found = found(program, &std::env::var_os("PATH").unwrap_or_default()).ok_or_else(|| {
        Failed::new(Exit::NotFound, format!("command not found: {}", program.display()), "")
    })?;
    let here = |path: PathBuf| absolute(&path).map_err(|error| unwritable(&path, &error));
    let (file, in_folder) = match &args.file {
        Some(file) => (here(file.clone())?, None),
        None => {
            let folder = here(FOLDER.into())?;
            let name = found.file_name().unwrap_or(program);
            (folder.join("shims").join(folder_of(target)).join(name), Some(folder))
        }
    };
    let bridge = std::env::current_exe()
        .map_err(|error| Failed::internal(format!("cannot find this program: {error}")))?;
    let options = options(&std::env::args_os().collect::<Vec<_>>(), command.len());
    let mut run: Vec<&OsStr> = vec![bridge.as_os_str(), OsStr::new("run")];
    run.extend(options.iter().map(OsString::as_os_str));
    let mut real: Vec<&OsStr> = vec![found.as_os_str()];
    real.extend(arguments.iter().map(OsString::as_os_str));
    let script = script(&file, &run, &real);
    written(&file, &script).map_err(|error| unwritable(&file, &error))?;
    if let Some(folder) = in_folder {
        let ignore = folder.join(".gitignore");
        written(&ignore, b"*\n").map_err(|error| unwritable(&ignore, &error))?;
    }
    output::print(&output::line(&file.display().to_string()))
}

/// "orders", "deploy.worker": the name of a Service has no dots.
fn folder_of(target: &Target) -> String {
    target.to_string().replace('/', ".")
}

/// Where a shell would find the program; links stay links, as virtual environments are found by them.
fn found(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.as_bytes().contains(&b'/') {
        return absolute(program).ok().filter(is_program);
    }
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    // A shim that calls a shim would never end.
    let folders = folders.filter(|folder| !folder.iter().any(|part| part == FOLDER));
    folders.map(|folder| folder.join(program)).find(is_program)
}

/// The options of `run` as they were typed, of the whole command line: without `--file`, which is for us, and with the
/// names of other files made absolute. `command`: the number of words at the end that are the command.
fn options(typed: &[OsString], command: usize) -> Vec<OsString> {
    let words = typed.get(1..typed.len() - command).unwrap_or_default();
    let words = words.strip_suffix(&[OsString::from("--")]).unwrap_or(words);
    // Options of all commands may stand before the name of this one.
    let name = words.iter().position(|word| word == "shim");
    let mut options = Vec::new();
    let mut words = words.iter().enumerate().filter(|(at, _)| Some(*at) != name).map(|(_, word)| word);
    while let Some(word) = words.next() {
        let (name, joined) = named(word);
        if name != "--file" && !FILES.iter().any(|file| name == *file) {
            options.push(word.clone());
            continue;
        }
        let Some(file) = joined.or_else(|| words.next().map(OsString::as_os_str)) else { continue };
        if name != "--file" {
            options.extend([name.to_owned(), here(file)]);
        }
    }
    options
}

/// "--name=value", or "--name" with its value in the next word.
fn named(word: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = word.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=').filter(|_| bytes.starts_with(b"--")) {
        Some(at) => (OsStr::from_bytes(&bytes[..at]), Some(OsStr::from_bytes(&bytes[at + 1..]))),
        None => (word, None),
    }
}

fn here(file: &OsStr) -> OsString {
    absolute(file).map_or_else(|_| file.to_owned(), PathBuf::into_os_string)
}

/// The program itself is what an editor asks for its version, and what is started within a command that this shim has
/// started already: a launcher may start its own interpreter again.
fn script(file: &Path, run: &[&OsStr], program: &[&OsStr]) -> Vec<u8> {
    const VERSION: &[u8] =
        br#"case "$# ${1-}" in "1 --version" | "1 -version" | "1 -V" | "1 -v" | "1 version") exec "#;

    let words = |words: &[&OsStr]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(&b" "[..]);
    let line = |parts: &[&[u8]]| [&parts.concat()[..], b"\n"].concat();
    let (this, run, program) = (quoted(file.as_os_str()), words(run), words(program));
    let all: &[u8] = b" \"$@\"";
    [
        line(&[b"#!/bin/sh"]),
        line(&[b"# Written by `bridge shim`."]),
        line(&[b"[ \"${BRIDGE_SHIM-}\" != ", &this, b" ] || exec ", &program, all]),
        line(&[VERSION, &program, all, b" ;; esac"]),
        line(&[b"BRIDGE_SHIM=", &this, b" exec ", &run, b" -- ", &program, all]),
    ]
    .concat()
}

/// For a POSIX shell.
fn quoted(word: &OsStr) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+%^".contains(byte);
    let bytes = word.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.to_vec();
    }
    let mut quoted = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// In one step, for whoever starts it meanwhile; and not at all if it is there.
fn written(file: &Path, content: &[u8]) -> io::Result<()> {
    if std::fs::read(file).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let beside = folder.join(name);
    let done = std::fs::File::create(&beside).and_then(|mut new| {
        new.write_all(content)?;
        let mode = if content.starts_with(b"#!") { 0o755 } else { 0o644 };
        new.set_permissions(std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&beside, file)
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    done
}

fn unwritable(file: &Path, error: &io::Error) -> Failed {
    Failed::new(Exit::Usage, format!("cannot write {}: {error}", file.display()), "--file names another")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_options_of_run_stay_as_they_were_typed() {
        let here = std::env::current_dir().expect("a directory");
        let file = |name: &str| here.join(name).display().to_string();
        for (typed, command, expected) in [
            ("bridge shim orders -- node", 1, "orders".to_owned()),
            ("bridge shim orders node --inspect", 2, "orders".to_owned()),
            ("bridge --progress none shim orders -- shim", 1, "--progress none orders".to_owned()),
            (
                "bridge shim -n shop --port 3000:http orders -- node",
                1,
                "-n shop --port 3000:http orders".to_owned(),
            ),
            ("bridge shim orders --file a/node --me=alice -- node", 1, "orders --me=alice".to_owned()),
            ("bridge shim --file=node orders -- node --file x", 3, "orders".to_owned()),
            ("bridge shim orders --env-file .env -- node", 1, format!("orders --env-file {}", file(".env"))),
            ("bridge shim orders --kubeconfig=k -- node", 1, format!("orders --kubeconfig {}", file("k"))),
            ("bridge shim orders --env-file /e -- node", 1, "orders --env-file /e".to_owned()),
        ] {
            assert_eq!(options(&words(typed), command), words(&expected), "{typed}");
        }
    }

    #[test]
    fn a_program_is_found_as_a_shell_finds_it_and_no_shim_is() {
        let folder = tempfile::tempdir().expect("a directory");
        let make = |name: &str, mode: u32| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
            std::fs::write(&file, "").expect("a file");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its mode");
            file
        };
        let (_, _) = (make("data/node", 0o644), make(".bridge/shims/orders/node", 0o755));
        let node = make("bin/node", 0o755);
        let folders = [".bridge/shims/orders", "data", "bin"].map(|name| folder.path().join(name));
        let path = std::env::join_paths(&folders).expect("no colons");
        assert_eq!(found(OsStr::new("node"), &path), Some(node.clone()));
        assert_eq!(found(node.as_os_str(), OsStr::new("")), Some(node));
        assert_eq!(found(OsStr::new("python"), &path), None);
        assert_eq!(found(folders[1].join("node").as_os_str(), &path), None, "it cannot be executed");
    }

    #[test]
    fn words_reach_a_shell_as_they_are() {
        let awkward = ["it's", "", "a b", "$HOME", "`x`", "\\", "\n", "*", "~", "ä", "a=b", "!", "#"];
        let said =
            awkward.map(|word| [b"printf '%s|' ", &*quoted(OsStr::new(word))].concat()).join(&b"; "[..]);
        let shell = std::process::Command::new("sh").arg("-c").arg(OsString::from_vec(said)).output();
        let expected = awkward.map(|word| format!("{word}|")).concat();
        assert_eq!(String::from_utf8_lossy(&shell.expect("a shell").stdout), expected);
    }

    #[test]
    fn a_shim_hands_everything_on_and_is_the_program_itself_within_itself() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("orders' node");
        let (bridge, real) =
            ([OsStr::new("echo"), OsStr::new("run orders")], [OsStr::new("/bin/echo"), OsStr::new("-n")]);
        written(&file, &script(&file, &bridge, &real)).expect("written");
        let says_with = |within: Option<&Path>, arguments: &[&str]| {
            let mut shim = std::process::Command::new(&file);
            shim.args(arguments).env_remove("BRIDGE_SHIM");
            shim.envs(within.map(|within| ("BRIDGE_SHIM", within)));
            String::from_utf8_lossy(&shim.output().expect("it runs").stdout).into_owned()
        };
        let says = |within: Option<&Path>| says_with(within, &["a b", "--inspect=0"]);
        assert_eq!(says(None), "run orders -- /bin/echo -n a b --inspect=0\n");
        assert_eq!(says(Some(&file)), "a b --inspect=0");
        assert_eq!(says(Some(Path::new("/another"))), says(None));
        // An editor that asks for the version starts no session.
        assert_eq!(says_with(None, &["--version"]), "--version");
        assert_eq!(says_with(None, &["--version", "a"]), "run orders -- /bin/echo -n --version a\n");
        assert_eq!(says_with(None, &[]), "run orders -- /bin/echo -n\n");
    }

    #[test]
    fn a_file_that_is_right_is_left_alone() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("a/b/node");
        written(&file, b"#!/bin/sh\n").expect("written");
        let first = file.metadata().expect("it is there");
        assert_eq!(first.permissions().mode() & 0o777, 0o755);
        written(&file, b"#!/bin/sh\n").expect("written");
        let ino = |meta: &std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(meta);
        assert_eq!(ino(&file.metadata().expect("it is there")), ino(&first));
        written(&file, b"#!/bin/dash\n").expect("written");
        assert_ne!(ino(&file.metadata().expect("it is there")), ino(&first), "who runs the old one keeps it");
        let names = std::fs::read_dir(file.parent().expect("a directory")).expect("it is there").count();
        assert_eq!(names, 1, "nothing is left beside it");
    }
}
