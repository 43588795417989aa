//! A process that keeps its memory private. Alone in its process, which is changed for good.

use std::process::Command;

use bridge_os::memory;
use rustix::process::{DumpableBehavior, dumpable_behavior};

#[test]
fn a_process_with_private_memory_cannot_be_dumped_and_still_works() {
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
    memory::keep_to_ourselves().unwrap();
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);

    // The daemon's reads of its own /proc still work.
    assert!(memory::resident_bytes().unwrap() > 0);
    assert!(std::env::current_exe().is_ok() && std::fs::read_dir("/proc/self/fd").is_ok());
    // A program that it starts is as any other.
    let other = Command::new("cat").arg("/proc/self/environ").output().unwrap();
    assert!(other.status.success() && !other.stdout.is_empty());
}
