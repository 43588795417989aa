//! A process's memory is that of all its threads, so this test has its own process.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(target_env = "gnu")]

use bridge_os::memory::{give_back_what_is_freed, resident_bytes};

/// Well above the thresholds, and within one of glibc's heaps (64 MiB).
const HEAP: usize = 16 << 20;

#[test]
fn freed_memory_goes_back_even_after_a_large_piece() {
    give_back_what_is_freed();
    let before = resident_bytes().unwrap();
    drop(vec![1_u8; HEAP]);
    drop((0..HEAP >> 16).map(|_| vec![1_u8; 1 << 16]).collect::<Vec<_>>());
    let kept = resident_bytes().unwrap().saturating_sub(before);
    assert!(kept < (HEAP / 4) as u64, "{kept} bytes of {HEAP} are kept, expected to have gone back");
}
