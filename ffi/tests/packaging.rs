//! Programs find the installed library by pkg-config and by CMake, and link it either way.

use std::{env, fs, path::PathBuf, process::Command};

mod support;

use support::{installed, root};

/// What a command says; it must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn pkg_config(question: &str) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args([question, "polyphony"]).env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig"));
    output(&mut command).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_archive_that_pkg_config_names_makes_a_program_that_needs_no_library() {
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("with_archive");
    output(
        Command::new("cc")
            .arg(root().join("tests/cmake/version.c"))
            .args(pkg_config("--cflags"))
            .args(pkg_config("--variable=archive"))
            .arg("-o")
            .arg(&program),
    );
    assert_eq!(output(Command::new(&program).env_remove("LD_LIBRARY_PATH")), "2\n");
    let needed = output(Command::new("readelf").arg("-d").arg(&program));
    assert!(!needed.contains("libpolyphony"), "{needed}");
}

#[test]
fn cmake_finds_the_library_for_c_and_for_cplusplus() {
    if Command::new("cmake").arg("--version").output().is_err() {
        eprintln!("cmake is not here, so find_package is not tested");
        return;
    }
    let build = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cmake");
    // What was configured elsewhere, where the tree was copied from, cannot be configured again here.
    drop(fs::remove_dir_all(&build));
    output(
        Command::new("cmake")
            .arg("-S")
            .arg(root().join("tests/cmake"))
            .arg("-B")
            .arg(&build)
            .arg(format!("-DCMAKE_PREFIX_PATH={}", installed().display())),
    );
    output(Command::new("cmake").arg("--build").arg(&build));
    for program in ["c_polyphony", "c_static", "cplusplus_polyphony", "cplusplus_static"] {
        assert_eq!(output(&mut Command::new(build.join(program))), "2\n", "{program}");
    }
    let needed = output(Command::new("readelf").arg("-d").arg(build.join("c_static")));
    assert!(!needed.contains("libpolyphony"), "{needed}");
}
