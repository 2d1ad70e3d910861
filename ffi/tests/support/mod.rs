//! What the tests of the installed library share: where it is, and how programs are made with it.
#![allow(dead_code, reason = "no test needs all of it")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Where the library is installed for the tests, by the script that users call.
pub(crate) fn installed() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("prefix");
        let built = env::current_exe().expect("this test has a path");
        // Beside the tests stand the libraries of the same build.
        let built = built.parent().expect("it stands in a directory");
        let script = root().join("../bin/install-c");
        let status = Command::new(script).args([&prefix, built]).status().expect("the script runs");
        assert!(status.success(), "bin/install-c failed");
        prefix
    })
}

/// The directory of this crate.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program is compiled as.
#[derive(Clone, Copy)]
pub(crate) enum Language {
    C,
    Cplusplus,
}

/// Compiles a program with every warning an error, and says where it is. Another test may be running the same one: it
/// is replaced, not written to.
pub(crate) fn compile(source: &str, language: Language) -> PathBuf {
    compile_with(source, language, &[])
}

/// [`compile`] with what another library needs.
pub(crate) fn compile_with(source: &str, language: Language, flags: &[String]) -> PathBuf {
    let (compiler, standard, kind) = match language {
        Language::C => ("cc", "-std=c99", "c"),
        Language::Cplusplus => ("c++", "-std=c++11", "c++"),
    };
    let name = source.replace(['/', '.'], "_");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}_{}", kind.len()));
    static COMPILED: AtomicUsize = AtomicUsize::new(0);
    let fresh = program.with_extension(COMPILED.fetch_add(1, Ordering::Relaxed).to_string());
    let output = Command::new(compiler)
        .args([standard, "-x", kind, "-O2", "-g", "-Wall", "-Wextra", "-pedantic", "-Werror"])
        .arg(root().join(source))
        .args(["-x", "none"])
        .args(pkg_config())
        .args(flags)
        .arg(format!("-Wl,-rpath,{}", installed().join("lib").display()))
        .arg("-o")
        .arg(&fresh)
        .output()
        .expect("a compiler");
    assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    fs::rename(&fresh, &program).expect("it was compiled");
    program
}

/// What a compiler must be told to find the installed library.
pub(crate) fn pkg_config() -> Vec<String> {
    let output = Command::new("pkg-config")
        .args(["--cflags", "--libs", "polyphony"])
        .env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig"))
        .output()
        .expect("pkg-config");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("flags").split_whitespace().map(str::to_owned).collect()
}

/// What a compiler must be told to find Lua, where it is installed.
pub(crate) fn lua() -> Option<Vec<String>> {
    let output =
        Command::new("pkg-config").args(["--cflags", "--libs", "lua5.4"]).output().expect("pkg-config");
    let flags = String::from_utf8(output.stdout).expect("flags");
    output.status.success().then(|| flags.split_whitespace().map(str::to_owned).collect())
}

/// The backends to run on.
pub(crate) fn backends() -> Vec<String> {
    let named = env::var("POLYPHONY_TEST_BACKENDS").unwrap_or_else(|_| "io_uring epoll".to_owned());
    named.split_whitespace().map(str::to_owned).collect()
}

/// Runs a program to its end; the answer is what it printed.
pub(crate) fn run(program: &Path, backend: &str) -> String {
    let output = Command::new(program).env("POLYPHONY_BACKEND", backend).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} on {backend}: {}: {errors}", program.display(), output.status);
    String::from_utf8(output.stdout).expect("text")
}
