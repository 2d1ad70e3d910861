//! What the library exports, and that a test knows each of it.
//!
//! `ffi/abi/symbols.txt` is the list. A function that is added is added there, by
//! `POLY_REGENERATE=1 cargo test -p polyphony-ffi --test abi`, and then asks here for its tests. One that is missing
//! there would be missed by programs that are linked already.

use std::{env, fs, process::Command};

mod support;

use support::{installed, root};

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What a tool says of the shared library.
fn of_the_library(tool: &str, flags: &[&str]) -> String {
    let library = installed().join("lib/libpolyphony.so");
    let output = Command::new(tool).args(flags).arg(&library).output().expect(tool);
    String::from_utf8(output.stdout).expect("text")
}

/// The names of the list.
fn symbols() -> Vec<String> {
    read("abi/symbols.txt").lines().map(str::to_owned).collect()
}

/// All C tests, one after the other.
fn tests() -> String {
    let directory = fs::read_dir(root().join("tests/c")).expect("the tests");
    let files = directory.map(|file| file.expect("a test").path());
    files.map(|file| fs::read_to_string(file).expect("text")).collect()
}

/// The arguments of a function, as the header declares them.
fn parameters(name: &str) -> String {
    let header = read("../include/polyphony.h");
    let start = header.rfind(&format!("{name}(")).unwrap_or_else(|| panic!("{name} is not in the header"));
    header[start..].split(';').next().expect("a declaration").to_owned()
}

/// Whether one of these macros of `check.h` makes the call.
fn is_called_by(macros: &[&str], name: &str, tests: &str) -> bool {
    let call = format!("{name}(");
    let statements = tests.split(';');
    let mut calls = statements.filter(|statement| statement.contains(&call));
    calls.any(|statement| macros.iter().any(|name| statement.contains(&format!("{name}("))))
}

/// Whether a call has NULL among its arguments.
fn is_called_with_null(name: &str, tests: &str) -> bool {
    let call = format!("{name}(");
    let calls = tests.split(&call).skip(1);
    let mut arguments = calls.map(|rest| rest.split(';').next().unwrap_or(""));
    arguments.any(|arguments| arguments.contains("NULL"))
}

#[test]
fn the_library_exports_the_functions_of_the_list_and_nothing_else() {
    let mut exported: Vec<String> = of_the_library("nm", &["-D", "--defined-only"])
        .lines()
        .map(|line| line.rsplit(' ').next().expect("a name").to_owned())
        .collect();
    exported.sort();
    let strange: Vec<_> = exported.iter().filter(|name| !name.starts_with("poly_")).collect();
    assert!(strange.is_empty(), "exported by accident: {strange:?}");
    if env::var_os("POLY_REGENERATE").is_some() {
        let list = exported.join("\n") + "\n";
        fs::write(root().join("abi/symbols.txt"), list).expect("the list can be written");
    }
    let listed = symbols();
    let lost: Vec<_> = listed.iter().filter(|name| !exported.contains(name)).collect();
    assert!(lost.is_empty(), "programs may need {lost:?}: what was exported once stays while POLY_ABI does");
    let new: Vec<_> = exported.iter().filter(|name| !listed.contains(name)).collect();
    assert!(
        new.is_empty(),
        "not in ffi/abi/symbols.txt: {new:?}; run: POLY_REGENERATE=1 cargo test -p polyphony-ffi --test abi"
    );
}

#[test]
fn every_function_of_the_list_is_in_the_header() {
    symbols().iter().for_each(|name| assert!(parameters(name).starts_with(name)));
}

#[test]
fn programs_ask_for_the_library_by_the_number_of_its_abi() {
    let dynamic = of_the_library("readelf", &["-d"]);
    let soname = concat!("soname: [libpolyphony.so.", env!("CARGO_PKG_VERSION_MAJOR"), "]");
    assert!(dynamic.contains(soname), "{dynamic}");
}

#[test]
fn every_function_is_called_with_a_sentinel_in_errno() {
    let tests = tests();
    let mut missed = symbols();
    missed.retain(|name| !is_called_by(&["GIVES", "QUIETLY"], name, &tests));
    assert!(missed.is_empty(), "no test looks at errno after {missed:?}");
}

#[test]
fn every_function_that_takes_a_pointer_is_called_with_null() {
    let tests = tests();
    let mut missed = symbols();
    missed.retain(|name| parameters(name).contains('*') && !is_called_with_null(name, &tests));
    assert!(missed.is_empty(), "no test calls with NULL: {missed:?}");
}
