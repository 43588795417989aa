//! The messages of a tunnel's stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bridge_proto::tunnel::hostile_frames(data));
