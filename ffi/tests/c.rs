//! The C tests and examples: compiled as C and as C++ against the installed header and library, and run.
//!
//! A test is a program that ends with 0; what went wrong it says itself. Each runs once a backend: io_uring
//! and epoll, or those that `POLYPHONY_TEST_BACKENDS` names.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

mod support;

use support::{Language, backends, compile, run};

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
fn overrun_stacks_from_c_are_named() {
    passes("tests/c/overflow.c");
}

#[test]
fn nulls_from_c_are_answered() {
    passes("tests/c/nulls.c");
}

#[test]
fn exceptions_and_destructors_in_fibers_of_cplusplus() {
    let program = compile("tests/cpp/exceptions.cc", Language::Cplusplus);
    backends().iter().for_each(|backend| drop(run(&program, backend)));
}

#[test]
fn programs_and_options_that_nobody_would_write_are_answered() {
    says("tests/c/fuzz.c", |said| assert!(said.contains(" calls in "), "{said}"));
}

#[test]
fn a_short_soak_leaves_nothing_over() {
    says("tests/c/soak.c", |said| assert!(said.contains("left over: 0 descriptors"), "{said}"));
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
