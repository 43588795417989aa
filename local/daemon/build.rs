//! Puts the agent into the command: BRIDGE_AGENT_PROGRAM, BRIDGE_AGENT_RESTORER and BRIDGE_AGENT_LOADER name what `make
//! build` has built.
//!
//! Without them the command is built all the same, and `bridge connect` explains what to do.

use std::{env, error::Error, fs, io::Write, path::PathBuf};

const LEVEL: i32 = 22;
/// 8 MiB, the most that the loader accepts.
const WINDOW_LOG: u32 = 23;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BRIDGE_AGENT_PROGRAM");
    println!("cargo:rerun-if-env-changed=BRIDGE_AGENT_RESTORER");
    println!("cargo:rerun-if-env-changed=BRIDGE_AGENT_LOADER");
    println!("cargo:rustc-check-cfg=cfg(carries_agent)");
    let files = ["BRIDGE_AGENT_PROGRAM", "BRIDGE_AGENT_RESTORER", "BRIDGE_AGENT_LOADER"].map(file);
    let [Some(agent), Some(restorer), Some(loader)] = files else { return Ok(()) };

    let read = |file: &PathBuf| fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
    let (agent, restorer, loader) = (read(&agent)?, read(&restorer)?, read(&loader)?);
    let architecture = architecture(&agent)?;
    for other in [&restorer, &loader] {
        if self::architecture(other)? != architecture {
            return Err("the agent, its restorer and its loader are of different architectures".into());
        }
    }

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("agent.zst"), compressed(&agent)?)?;
    fs::write(out.join("restorer.zst"), compressed(&restorer)?)?;
    fs::write(out.join("loader"), loader)?;
    println!("cargo:rustc-env=BRIDGE_AGENT_ARCHITECTURE={architecture}");
    println!("cargo:rustc-cfg=carries_agent");
    Ok(())
}

fn file(variable: &str) -> Option<PathBuf> {
    let file = PathBuf::from(env::var_os(variable).filter(|value| !value.is_empty())?);
    println!("cargo:rerun-if-changed={}", file.display());
    Some(file)
}

fn compressed(program: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(program.len().try_into()?))?;
    encoder.write_all(program)?;
    Ok(encoder.finish()?)
}

/// The architecture as Kubernetes calls it, from the ELF header (`e_machine`).
fn architecture(program: &[u8]) -> Result<&'static str, Box<dyn Error>> {
    match program.get(..20) {
        Some([0x7f, b'E', b'L', b'F', .., 62, 0]) => Ok("amd64"),
        Some([0x7f, b'E', b'L', b'F', .., 183, 0]) => Ok("arm64"),
        _ => Err("not a Linux program for x86_64 or aarch64".into()),
    }
}
