//! `include/polyphony.h` is what cbindgen makes of the sources, and compiles wherever it is included.

use std::{env, fs, path::PathBuf, process::Command};

/// The sections of the header, in its order.
const SECTIONS: [&str; 14] = [
    "error", "runtime", "fiber", "local", "scope", "io", "file", "buffer", "net", "process", "signal",
    "timer", "channel", "sync",
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

#[test]
fn every_exported_function_is_in_the_header_and_says_since_when() {
    let header = generated();
    let exports = SECTIONS.iter().flat_map(|section| {
        let source = fs::read_to_string(root().join(format!("src/{section}.rs"))).expect("a section");
        let names = source.split("extern \"C\" fn poly_").skip(1);
        names.map(|rest| rest.split('(').next().unwrap_or("").to_owned()).collect::<Vec<_>>()
    });
    for name in exports {
        let declaration = header.rfind(&format!("poly_{name}(")).unwrap_or_else(|| panic!("no {name}"));
        let comment = &header[..declaration];
        let comment = &comment[comment.rfind("/*").expect("a comment before it")..];
        assert!(comment.contains("Since 2."), "poly_{name} does not say since when");
    }
}

#[test]
fn the_header_compiles_alone_and_twice_as_c_and_as_cplusplus() {
    let include = root().join("../include");
    let twice = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("twice.c");
    fs::write(&twice, "#include <polyphony.h>\n#include <polyphony.h>\nint twice;\n")
        .expect("a scratch file");
    for (compiler, flags) in [
        ("cc", ["-std=c99", "-xc"]),
        ("cc", ["-std=c11", "-xc"]),
        ("c++", ["-std=c++11", "-xc++"]),
        ("c++", ["-std=c++20", "-xc++"]),
    ] {
        let status = Command::new(compiler)
            .args(flags)
            .args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-I"])
            .args([&include, &twice])
            .status()
            .expect("a compiler");
        assert!(status.success(), "{compiler} {flags:?} refuses the header");
    }
}
