//! Limits on a target's volumes: the agent leaves out what exceeds them, the laptop takes no more.

/// Bytes of all files together.
pub const MAX_BYTES: u64 = 64 << 20;
/// Files, directories and links of all volumes together.
pub const MAX_ENTRIES: u64 = 10_000;
/// Names in the paths of all volumes together.
pub const MAX_NAMES: usize = 4096;
/// Names in a path, counted from the volume.
pub const MAX_DEPTH: usize = 32;
/// Of a path, counted from the volume, and of what a link says (PATH_MAX).
pub const MAX_PATH: usize = 4096;
/// Of a file's content in one message.
pub const CHUNK: usize = 64 << 10;
