//! A message's way through the agent.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bridge_agent::hostile::http1_framing(data));
