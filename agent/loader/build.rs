//! Links the loader static, at a fixed address, with its own entry point and no C library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Non-PIE: nobody would relocate it. No build id and no page alignment: they would be a third of its size.
    for argument in
        ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,norelro"]
    {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
