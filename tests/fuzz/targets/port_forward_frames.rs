//! The messages of a port-forward. The file that reads them is built alone: its crate would bring a Kubernetes client along.
#![no_main]

#[path = "../../../local/cluster/src/portforward/channels.rs"]
#[allow(dead_code)]
mod channels;

libfuzzer_sys::fuzz_target!(|data: &[u8]| channels::hostile(data));
