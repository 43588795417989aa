//! Limits on a target's volumes: the agent omits files beyond them, the laptop accepts no more.

/// Bytes of all files together.
pub const MAX_BYTES: u64 = 64 << 20;
/// Files, directories and links of all volumes together.
pub const MAX_ENTRIES: u64 = 10_000;
/// Names in the paths of all volumes together.
pub const MAX_NAMES: usize = 4096;
/// Names in a path, counted from the volume.
pub const MAX_DEPTH: usize = 32;
/// Length of a path, counted from the volume, and of a link's target (PATH_MAX).
pub const MAX_PATH: usize = 4096;
/// Size of a file's content in one message.
pub const CHUNK: usize = 64 << 10;
