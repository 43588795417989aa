//! W3C baggage.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bridge_proto::matching::hostile(data));
