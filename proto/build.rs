//! Compiles `bridge/v1/*.proto` (protox: no protoc needed).

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["bridge/v1/tunnel.proto", "bridge/v1/agent.proto", "bridge/v1/daemon.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".bridge.v1.Data")
        .bytes(".bridge.v1.Datagram")
        .bytes(".bridge.v1.DnsMessage")
        .bytes(".bridge.v1.FilesReply")
        .bytes(".bridge.v1.FlowDatagram")
        .bytes(".bridge.v1.ResolveRequest")
        .compile_fds(descriptors)?;
    Ok(())
}
