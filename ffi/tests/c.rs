//! The C tests and examples: compiled as C and as C++ against the installed header and library, and run.
//!
//! A test is a program that ends with 0; what went wrong it says itself. Each runs once a backend: io_uring
//! and epoll, or those that `POLYPHONY_TEST_BACKENDS` names.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
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
fn scopes_with_children_from_c() {
    passes("tests/c/scopes.c");
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
        "workers", "scopes",
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
        let (server, said, line) = Server::start_with(Command::new(program).arg("0"));
        let port = line.rsplit(' ').next().and_then(|port| port.trim().parse().ok()).expect("a port");
        (server, said, port)
    }

    /// Starts it, and waits for the first line that it says.
    fn start_with(command: &mut Command) -> (Self, BufReader<ChildStdout>, String) {
        let mut server = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(server.stdout.take().expect("its output"));
        let server = Server(server);
        let mut line = String::new();
        said.read_line(&mut line).expect("its first line");
        (server, said, line)
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

/// A proxy to a target, on a backend; gives up after so many milliseconds.
fn proxy(program: &Path, backend: &str, target: SocketAddr, patience: &str) -> (Server, u16) {
    let (host, port) = (target.ip().to_string(), target.port().to_string());
    let mut command = Command::new(program);
    command.args(["0", &host, &port, patience]).env("POLYPHONY_BACKEND", backend);
    let (server, _said, line) = Server::start_with(&mut command);
    let port = line.rsplit(' ').next().and_then(|port| port.trim().parse().ok()).expect("a port");
    (server, port)
}

#[test]
fn the_proxy_passes_on_what_both_sides_say_and_closes_what_is_silent() {
    let program = compile("examples/proxy.c", Language::C);
    compile("examples/proxy.c", Language::Cplusplus);
    for backend in backends() {
        let target = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        let address = target.local_addr().expect("its address");
        let (mut server, port) = proxy(&program, &backend, address, "60000");
        let mut pairs: Vec<_> = (0..20)
            .map(|_| {
                let client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
                (client, target.accept().expect("the proxy connects").0)
            })
            .collect();
        for (number, (client, far)) in pairs.iter_mut().enumerate() {
            for (end, said) in [(client, [number as u8; 100_000].as_slice()), (far, &[b'!'; 1000])] {
                end.write_all(said).expect("the proxy reads");
                end.shutdown(Shutdown::Write).expect("the end is passed on");
            }
        }
        let mut heard: Vec<u8> = (pairs.iter_mut())
            .map(|(client, far)| {
                let (mut there, mut back) = (Vec::new(), Vec::new());
                far.read_to_end(&mut there).expect("what the client said");
                client.read_to_end(&mut back).expect("what the target said");
                assert_eq!((there.len(), back.len()), (100_000, 1000));
                assert!(there.iter().all(|&byte| byte == there[0]));
                there[0]
            })
            .collect();
        heard.sort_unstable();
        assert_eq!(heard, (0..20).collect::<Vec<u8>>());
        server.terminate();
        assert!(server.0.wait().expect("it ends").success());

        let (mut server, port) = proxy(&program, &backend, address, "50");
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let (mut far, _) = target.accept().expect("the proxy connects");
        // Nobody says anything: the proxy closes both.
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
        assert_eq!(far.read(&mut [0]).expect("the end"), 0);
        server.terminate();
        assert!(server.0.wait().expect("it ends").success());
    }
}

#[test]
fn the_checksum_example_reads_every_file() {
    let top = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("checksummed");
    let (mut all, mut bytes, files) = (0, 0, 60);
    for number in 0..files {
        let directory = top.join(format!("{}/{}", number % 3, number % 5));
        fs::create_dir_all(&directory).expect("a directory");
        let content = vec![number as u8; number * 1000];
        fs::write(directory.join(format!("file {number}")), &content).expect("a file");
        let sum = content.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        (all, bytes) = (all ^ sum, bytes + content.len());
    }
    for language in [Language::C, Language::Cplusplus] {
        let program = compile("examples/checksum.c", language);
        for backend in backends() {
            let mut command = Command::new(&program);
            command.arg(&top).env("POLYPHONY_BACKEND", backend);
            let output = command.output().expect("it starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let said = String::from_utf8(output.stdout).expect("text");
            assert_eq!(said.lines().last(), Some(&*format!("{all:016x} {files} files, {bytes} bytes")));
            assert_eq!(said.lines().count(), files + 1);
        }
    }
}

#[test]
fn the_supervisor_example_starts_again_what_fails_and_stops_what_runs() {
    for language in [Language::C, Language::Cplusplus] {
        let program = compile("examples/supervisor.c", language);
        for backend in backends() {
            let supervise = |arguments: &[&str]| {
                let mut command = Command::new(&program);
                command.args(arguments).env("POLYPHONY_BACKEND", &backend);
                command
            };
            let output = supervise(&["2", "2", "false"]).output().expect("it starts");
            let said = String::from_utf8(output.stdout).expect("text");
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(said.matches(" failed, attempt ").count(), 6, "{said}");
            assert!(said.ends_with("failed 2\n"), "{said}");

            let mut command = supervise(&["3", "5", "sleep", "1000"]);
            let (mut server, mut said, _) = Server::start_with(&mut command);
            server.terminate();
            let mut rest = String::new();
            said.read_to_string(&mut rest).expect("its last lines");
            assert!(server.0.wait().expect("it ends").success());
            assert!(rest.ends_with("failed 0\n"), "{rest}");
        }
    }
}
