//! `include/polyphony.h` is what cbindgen makes of the sources, and compiles wherever it is included.

use std::{env, fs, path::PathBuf, process::Command};

/// The sections of the header, in its order.
const SECTIONS: [&str; 16] = [
    "error",
    "runtime",
    "fiber",
    "local",
    "scope",
    "io",
    "file",
    "buffer",
    "net",
    "process",
    "signal",
    "timer",
    "channel",
    "sync",
    "operation",
    "host",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let builder = SECTIONS.iter().fold(cbindgen::Builder::new().with_config(config), |builder, section| {
        builder.with_src(root().join(format!("src/{section}.rs")))
    });
    let mut header = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut header);
    String::from_utf8(header).expect("the header is text")
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let path = root().join("../include/polyphony.h");
    let generated = generated();
    if env::var_os("POLY_REGENERATE").is_some() {
        fs::write(&path, &generated).expect("the header can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/polyphony.h is not what the sources say; \
         run: POLY_REGENERATE=1 cargo test -p polyphony-ffi --test header"
    );
}

#[test]
fn the_header_has_the_version_of_the_crate() {
    let header = generated();
    for (name, value) in [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        assert!(header.contains(&format!("#define POLY_VERSION_{name} {value}\n")), "{name} is not {value}");
    }
    assert!(header.contains(concat!("#define POLY_ABI ", env!("CARGO_PKG_VERSION_MAJOR"), "\n")));
}

/// Where a function is declared, which is not in the comments.
fn declaration(header: &str, name: &str) -> Option<usize> {
    let mut places =
        header.match_indices(&format!("poly_{name}(")).map(|(place, _)| place).collect::<Vec<_>>();
    places.retain(|&place| !header[..place].rsplit('\n').next().is_some_and(|line| line.starts_with(" *")));
    places.pop()
}

#[test]
fn every_exported_function_is_in_the_header_and_says_since_when() {
    let header = generated();
    let exports = SECTIONS.iter().flat_map(|section| {
        let source = fs::read_to_string(root().join(format!("src/{section}.rs"))).expect("a section");
        let names = source.split("extern \"C\" fn poly_").skip(1);
        names.map(|rest| rest.split('(').next().unwrap_or("").to_owned()).collect::<Vec<_>>()
    });
    for name in exports {
        let declaration = declaration(&header, &name).unwrap_or_else(|| panic!("no {name}"));
        let comment = &header[..declaration];
        let comment = &comment[comment.rfind("/*").expect("a comment before it")..];
        assert!(comment.contains("Since 2."), "poly_{name} does not say since when");
    }
}

/// A file that includes the header so many times, and nothing else.
fn including(times: usize) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("included_{times}.c"));
    let source = "#include <polyphony.h>\n".repeat(times) + "int nothing_else;\n";
    fs::write(&path, source).expect("a scratch file");
    path
}

/// Compilers and standards; who has not installed clang goes without it.
fn compilers() -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    const C: &[&str] = &["c99", "c11", "c17", "c2x"];
    const CPLUSPLUS: &[&str] = &["c++11", "c++14", "c++17", "c++20"];
    let mut compilers = vec![("gcc", "-xc", C), ("g++", "-xc++", CPLUSPLUS)];
    match Command::new("clang").arg("--version").output() {
        Ok(_) => compilers.extend([("clang", "-xc", C), ("clang", "-xc++", CPLUSPLUS)]),
        Err(_) => eprintln!("clang is not here, so the header is compiled by gcc only"),
    }
    compilers
}

#[test]
fn the_header_compiles_without_a_warning_by_every_compiler_and_standard_alone_and_twice() {
    let include = root().join("../include");
    for (compiler, language, standards) in compilers() {
        for (standard, times) in standards.iter().flat_map(|standard| [(standard, 1), (standard, 2)]) {
            let status = Command::new(compiler)
                .args([language, &format!("-std={standard}"), "-fsyntax-only"])
                .args([
                    "-Wall",
                    "-Wextra",
                    "-Wpedantic",
                    "-Wconversion",
                    "-Wsign-conversion",
                    "-Werror",
                    "-I",
                ])
                .args([&include, &including(times)])
                .status()
                .expect("a compiler");
            assert!(status.success(), "{compiler} -std={standard} refuses the header");
        }
    }
}
