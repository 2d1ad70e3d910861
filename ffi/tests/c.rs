//! The C tests and examples: compiled as C and as C++ against the installed header and library, and run.
//!
//! A test is a program that ends with 0; what went wrong it says itself. Each runs once a backend: io_uring
//! and epoll, or those that `POLYPHONY_TEST_BACKENDS` names.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

/// Where the library is installed for the tests, by the script that users call.
fn installed() -> &'static Path {
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

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[derive(Clone, Copy)]
enum Language {
    C,
    Cplusplus,
}

/// Compiles a program with every warning an error, and says where it is.
fn compile(source: &str, language: Language) -> PathBuf {
    let (compiler, standard, kind) = match language {
        Language::C => ("cc", "-std=c99", "c"),
        Language::Cplusplus => ("c++", "-std=c++11", "c++"),
    };
    let name = source.replace(['/', '.'], "_");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}_{}", kind.len()));
    let output = Command::new(compiler)
        .args([standard, "-x", kind, "-O2", "-g", "-Wall", "-Wextra", "-pedantic", "-Werror"])
        .arg(root().join(source))
        .args(["-x", "none"])
        .args(pkg_config())
        .arg(format!("-Wl,-rpath,{}", installed().join("lib").display()))
        .arg("-o")
        .arg(&program)
        .output()
        .expect("a compiler");
    assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

fn pkg_config() -> Vec<String> {
    let output = Command::new("pkg-config")
        .args(["--cflags", "--libs", "polyphony"])
        .env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig"))
        .output()
        .expect("pkg-config");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("flags").split_whitespace().map(str::to_owned).collect()
}

fn backends() -> Vec<String> {
    let named = env::var("POLYPHONY_TEST_BACKENDS").unwrap_or_else(|_| "io_uring epoll".to_owned());
    named.split_whitespace().map(str::to_owned).collect()
}

/// Runs a program to its end; the answer is what it printed.
fn run(program: &Path, backend: &str) -> String {
    let output = Command::new(program).env("POLYPHONY_BACKEND", backend).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} on {backend}: {}: {errors}", program.display(), output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a program as C and as C++ on each backend, and gives what it printed to `check`.
fn says(source: &str, check: impl Fn(&str)) {
    for language in [Language::C, Language::Cplusplus] {
        let program = compile(source, language);
        backends().iter().for_each(|backend| check(&run(&program, backend)));
    }
}

fn passes(source: &str) {
    says(source, |_| {});
}

#[test]
fn runtimes_and_fibers_from_c() {
    passes("tests/c/fibers.c");
}

#[test]
fn every_operation_from_c() {
    passes("tests/c/io.c");
}

#[test]
fn files_and_copies_from_c() {
    passes("tests/c/file.c");
}

#[test]
fn lent_buffers_from_c() {
    passes("tests/c/buffer.c");
}

#[test]
fn networking_from_c() {
    passes("tests/c/net.c");
}

#[test]
fn processes_from_c() {
    passes("tests/c/process.c");
}

#[test]
fn signals_and_tickers_from_c() {
    passes("tests/c/signal.c");
}

#[test]
fn sync_objects_from_c() {
    passes("tests/c/sync.c");
}

#[test]
fn cancellation_and_deadlines_from_c() {
    passes("tests/c/cancel.c");
}

#[test]
fn several_workers_from_c() {
    passes("tests/c/workers.c");
}

#[test]
fn forks_from_c() {
    passes("tests/c/forked.c");
}

#[test]
fn wrong_calls_from_c_are_answered() {
    passes("tests/c/misuse.c");
}

#[test]
fn every_function_of_the_header_is_called_by_a_c_test() {
    let header = fs::read_to_string(root().join("../include/polyphony.h")).expect("the header");
    let tests: String = [
        "fibers", "io", "file", "buffer", "net", "process", "signal", "sync", "cancel", "forked", "misuse",
        "workers",
    ]
    .map(|test| fs::read_to_string(root().join(format!("tests/c/{test}.c"))).expect("a test"))
    .concat();
    let declarations = header[header.find("extern \"C\" {").expect("the functions")..].lines();
    for line in declarations.filter(|line| !line.starts_with([' ', '/', '#', '}'])) {
        let Some((before, _)) = line.split_once('(') else { continue };
        let name = before.rsplit([' ', '*']).next().expect("a name");
        assert!(tests.contains(&format!("{name}(")), "{name} is called by no test");
    }
}

#[test]
fn the_library_exports_nothing_but_its_functions() {
    let library = installed().join("lib/libpolyphony.so");
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().expect("nm");
    let symbols = String::from_utf8(output.stdout).expect("text");
    assert!(symbols.contains(" poly_read"));
    for symbol in symbols.lines() {
        let name = symbol.rsplit(' ').next().expect("a name");
        assert!(name.starts_with("poly_"), "{name} is exported");
    }
}

#[test]
fn the_pipeline_example_adds_up() {
    says("examples/pipeline.c", |said| {
        assert_eq!(said, "the sum of the squares up to 100000 is 333338333350000\n");
    });
}

#[test]
fn the_timeout_example_gives_up_on_half_a_request() {
    says("examples/timeout.c", |said| {
        assert_eq!(said, "half a request: Connection timed out\na whole one: 2 bytes\n");
    });
}

/// A server that does not outlive its test, also where that fails: what waits for the end of the test's
/// output would wait for the server's too.
struct Server(Child);

impl Server {
    /// Starts it on a port of its choice, and says which.
    fn start(program: &Path) -> (Self, BufReader<ChildStdout>, u16) {
        let mut server = Command::new(program).arg("0").stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(server.stdout.take().expect("its output"));
        let server = Server(server);
        let mut line = String::new();
        said.read_line(&mut line).expect("its first line");
        let port = line.rsplit(' ').next().and_then(|port| port.trim().parse().ok()).expect("a port");
        (server, said, port)
    }

    fn terminate(&self) {
        // SAFETY: two numbers, and the child has not been waited for, so the first is still its own.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended, as it should.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_echo_server_serves_many_clients_and_ends_when_it_is_told_to() {
    for language in [Language::C, Language::Cplusplus] {
        let program = compile("examples/echo_server.c", language);
        let (mut server, mut said, port) = Server::start(&program);
        let mut clients: Vec<TcpStream> =
            (0..50).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("a connection")).collect();
        for round in 0..20u8 {
            for (number, client) in clients.iter_mut().enumerate() {
                let sent = [round ^ number as u8; 700];
                client.write_all(&sent).expect("the server reads");
                let mut heard = [0; 700];
                client.read_exact(&mut heard).expect("the server answers");
                assert_eq!(heard, sent);
            }
        }
        // The clients are still connected: the server must not wait for them.
        server.terminate();
        let mut rest = String::new();
        said.read_to_string(&mut rest).expect("its last line");
        assert!(server.0.wait().expect("it ends").success());
        assert!(rest.starts_with("connections 50 operations "), "{rest}");
        assert!(rest.contains(" fibers 0 "), "{rest}");
    }
}
