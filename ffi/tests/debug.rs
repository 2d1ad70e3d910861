//! The debug mode: it names who is wrong, and nobody else.

use std::{fs, os::unix::process::ExitStatusExt, path::Path, process::Command};

mod support;

use support::{Language, backends, compile, root};

/// What a program says on standard output and on standard error, and how it ends.
fn run(program: &Path, mode: &str, arguments: &[&str]) -> (String, String, std::process::ExitStatus) {
    let mut command = Command::new(program);
    let backend = &backends()[0];
    command.args(arguments).env("POLY_DEBUG", mode).env("POLYPHONY_BACKEND", backend);
    let output = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status)
}

#[test]
fn the_debug_mode_names_the_function_the_object_and_who_freed_it() {
    let program = compile("tests/c/debug.c", Language::C);
    let (expected, said, status) = run(&program, "1", &[]);
    assert!(status.success(), "{said}");
    assert_eq!(said, expected);
}

#[test]
fn the_debug_mode_aborts_where_it_is_asked_to() {
    let program = compile("tests/c/debug.c", Language::Cplusplus);
    let (_, said, status) = run(&program, "abort", &["abort"]);
    assert_eq!(status.signal(), Some(libc::SIGABRT));
    assert!(said.starts_with("polyphony: poly_channel_close: 0x"), "{said}");
    assert!(said.ends_with("is no poly_channel\n"), "{said}");
}

#[test]
fn the_debug_mode_finds_nothing_wrong_with_what_is_right() {
    let files = fs::read_dir(root().join("tests/c")).expect("the tests");
    let names = files.map(|file| file.expect("a test").file_name().into_string().expect("text"));
    // Those that are wrong on purpose are left out.
    let right = names.filter(|name| name.ends_with(".c") && !["debug.c", "overflow.c"].contains(&&**name));
    for name in right {
        let program = compile(&format!("tests/c/{name}"), Language::C);
        let (_, said, status) = run(&program, "1", &[]);
        assert!(status.success(), "{name}: {said}");
        let strange: Vec<_> = said.lines().filter(|line| !line.contains(": NULL is no poly_")).collect();
        assert!(strange.is_empty(), "{name}: {strange:?}");
    }
}
