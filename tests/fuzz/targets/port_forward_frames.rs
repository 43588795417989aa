//! The bytes that come by a port-forward, in either protocol. The files that read them are built alone: their crate
//! would bring a Kubernetes client along.
#![no_main]

#[path = "../../../local/cluster/src/portforward/channels.rs"]
#[allow(dead_code)]
mod channels;
#[path = "../../../local/cluster/src/portforward/frames.rs"]
#[allow(dead_code)]
mod frames;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    channels::hostile(data);
    frames::hostile(data);
});
