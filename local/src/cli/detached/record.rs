//! What is known of a command that was detached: a record, a log and a lock under its name, in the runtime directory.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use bridge_client::RuntimeDir;
use bridge_os::life::Life;
use serde::{Deserialize, Serialize};

use crate::cli::error::Failed;
use crate::cli::names::RunName;
use crate::cli::output::{self, duration};

/// The largest record that is read.
const LARGEST: u64 = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) started: u64,
    pub(super) target: String,
    pub(super) namespace: String,
    pub(super) context: String,
    pub(super) command: Vec<String>,
    /// Milliseconds since the epoch.
    pub(super) since_ms: u64,
    /// None: it runs, or was killed.
    pub(super) exit_code: Option<u8>,
}

impl Record {
    pub(super) fn life(&self) -> Life {
        Life { pid: self.pid, started: self.started }
    }
}

/// The output of `ps -o json`. The names of the fields are stable.
#[derive(Debug, Serialize)]
pub(super) struct Listing<'a> {
    runs: Vec<Run<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    name: &'a str,
    pid: u32,
    target: &'a str,
    namespace: &'a str,
    context: &'a str,
    command: &'a [String],
    since_ms: u64,
    running: bool,
    exit_code: Option<u8>,
}

impl<'a> Listing<'a> {
    pub(super) fn of(records: &'a [Record]) -> Self {
        let run = |record: &'a Record| Run::of(record, record.life().lasts());
        Self { runs: records.iter().map(run).collect() }
    }
}

impl<'a> Run<'a> {
    fn of(record: &'a Record, running: bool) -> Self {
        let Record { name, pid, started: _, target, namespace, context, command, since_ms, exit_code } =
            record;
        let (pid, since_ms, exit_code) = (*pid, *since_ms, *exit_code);
        Self { name, pid, target, namespace, context, command, since_ms, running, exit_code }
    }
}

/// The files of one name.
pub(super) struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    pub(super) fn of(name: &RunName) -> Result<Self, Failed> {
        Ok(Self { folder: folder()?, name: name.to_string() })
    }

    pub(super) fn log(&self) -> PathBuf {
        self.file("log")
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.name))
    }

    /// The lock that its process holds as long as it lives; `None`: another one has it.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let path = self.file("lock");
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(super) fn read(&self) -> io::Result<Option<Record>> {
        let path = self.file("json");
        match fs::metadata(&path) {
            Ok(meta) if meta.len() <= LARGEST => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(serde_json::from_slice(&fs::read(&path)?).ok())
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let (path, beside) = (self.file("json"), self.file("new"));
        fs::write(&beside, serde_json::to_vec(record)?)?;
        fs::rename(beside, path)
    }

    pub(super) fn forget(&self) -> io::Result<()> {
        for extension in ["json", "new", "log", "old", "lock"] {
            match fs::remove_file(self.file(extension)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn failed(&self, error: &io::Error) -> Failed {
        Failed::internal(format!("{}: {error}", self.folder.display()))
    }
}

/// The log of a detached command, if there is one by this name.
pub(crate) fn log_of(name: &str) -> Option<PathBuf> {
    let place = Place::of(&name.parse().ok()?).ok()?;
    place.read().ok().flatten().map(|_| place.log())
}

fn folder() -> Result<PathBuf, Failed> {
    let folder = RuntimeDir::find()?.directory().join("runs");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| Failed::internal(format!("{}: {error}", folder.display())))?;
    Ok(folder)
}

/// All that are known, the oldest first.
pub(super) fn all() -> Result<Vec<Record>, Failed> {
    let folder = folder()?;
    let unreadable = |error: &io::Error| Failed::internal(format!("{}: {error}", folder.display()));
    let mut runs = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| unreadable(&error))? {
        let path = entry.map_err(|error| unreadable(&error))?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
        let Some(name) = name.filter(|_| path.extension().is_some_and(|extension| extension == "json"))
        else {
            continue;
        };
        let place = Place { folder: folder.clone(), name };
        runs.extend(place.read().map_err(|error| unreadable(&error))?);
    }
    runs.sort_by(|one, other| (one.since_ms, &one.name).cmp(&(other.since_ms, &other.name)));
    Ok(runs)
}

pub(super) fn table(Listing { runs }: &Listing<'_>, now_ms: u64) -> String {
    if runs.is_empty() {
        return "nothing runs detached\n".to_owned();
    }
    let head = ["NAME", "TARGET", "NAMESPACE", "STATE", "COMMAND"].map(str::to_owned).to_vec();
    let rows = runs.iter().map(|run| {
        let state = match (run.running, run.exit_code) {
            (true, _) => {
                format!("runs for {}", duration(Duration::from_millis(now_ms.saturating_sub(run.since_ms))))
            }
            (false, Some(code)) => format!("ended with {code}"),
            (false, None) => "was killed".to_owned(),
        };
        let [name, target, namespace] = [run.name, run.target, run.namespace].map(str::to_owned);
        vec![name, target, namespace, state, run.command.join(" ")]
    });
    output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            name: "web".into(),
            pid: 1,
            started: 0,
            target: "orders".into(),
            namespace: "shop".into(),
            context: "kind-dev".into(),
            command: vec!["npm".into(), "start".into()],
            since_ms: 1_000,
            exit_code: None,
        }
    }

    #[test]
    fn a_name_is_one_process_s_and_is_forgotten_whole() {
        let folder = tempfile::tempdir().expect("a directory");
        let place = Place { folder: folder.path().to_owned(), name: "web".into() };
        assert_eq!(place.read().expect("readable"), None);
        let lock = place.lock().expect("lockable").expect("free");
        assert!(place.lock().expect("lockable").is_none(), "another has it");
        place.write(&record()).expect("written");
        assert_eq!(place.read().expect("readable"), Some(record()));
        drop(lock);
        assert!(place.lock().expect("lockable").is_some(), "it has ended");
        fs::write(place.file("json"), "{").expect("written");
        assert_eq!(place.read().expect("readable"), None, "what cannot be read is not taken for one");
        place.forget().expect("forgotten");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
    }

    #[test]
    fn a_table_says_how_each_is() {
        let records = [(true, None), (false, Some(7)), (false, None)]
            .map(|(running, exit_code)| (running, Record { exit_code, ..record() }));
        let runs = records.iter().map(|(running, record)| Run::of(record, *running)).collect();
        let text = table(&Listing { runs }, 61_000);
        let states: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            states,
            [
                "web   orders  shop       runs for 60 s  npm start",
                "web   orders  shop       ended with 7   npm start",
                "web   orders  shop       was killed     npm start",
            ]
        );
        assert_eq!(table(&Listing { runs: vec![] }, 0), "nothing runs detached\n");
    }

    #[test]
    fn the_shape_for_programs() {
        insta::assert_json_snapshot!(Listing { runs: vec![Run::of(&record(), true)] }, @r#"
        {
          "runs": [
            {
              "name": "web",
              "pid": 1,
              "target": "orders",
              "namespace": "shop",
              "context": "kind-dev",
              "command": [
                "npm",
                "start"
              ],
              "sinceMs": 1000,
              "running": true,
              "exitCode": null
            }
          ]
        }
        "#);
    }
}
