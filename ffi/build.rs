//! Names the shared library after its ABI: programs ask for `libpolyphony.so.2`, whatever is installed.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libpolyphony.so.2");
}
