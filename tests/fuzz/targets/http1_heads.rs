//! Heads of requests and answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bridge_agent::hostile::http1_heads(data));
