//! Link settings of the binary.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}"));
    // The clients of every cloud bring 45,000 relative relocations: packed (DT_RELR, glibc 2.36), the
    // loader reads 10 kB of them instead of 1 MB at every start.
    if target("OS").as_deref() == Ok("linux") && target("ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
