//! The C tests and examples: compiled as C and as C++ against the installed header and library, and run.
//!
//! A test is a program that ends with 0; what went wrong it says itself. Each runs once a backend: io_uring
//! and epoll, or those that `POLYPHONY_TEST_BACKENDS` names.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

mod support;

use support::{Language, backends, compile, compile_with, lua, root, run};

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
fn loops_from_c() {
    for language in [Language::C, Language::Cplusplus] {
        let program = compile("tests/c/loop.c", language);
        backends().iter().for_each(|backend| drop(run(&program, backend)));
        let simulated = Command::new(&program).arg("sim").output().expect("it starts");
        assert!(simulated.status.success(), "{}", String::from_utf8_lossy(&simulated.stderr));
    }
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
fn the_host_example_serves_echo_from_coroutines_of_lua() {
    let Some(lua) = lua() else { return eprintln!("Lua is not here, so the host example is not tested") };
    let program = compile_with("examples/host/lua_host.c", Language::C, &lua);
    for backend in backends() {
        let mut command = Command::new(&program);
        command.arg(root().join("examples/host/echo.lua")).arg("21").env("POLYPHONY_BACKEND", &backend);
        let (mut server, mut said, line) = Server::start_with(&mut command);
        let port: u16 = line.rsplit(' ').next().and_then(|port| port.trim().parse().ok()).expect("a port");
        let mut clients: Vec<TcpStream> =
            (0..20).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("a connection")).collect();
        for round in 0..10u8 {
            for (number, client) in clients.iter_mut().enumerate() {
                let sent = [round ^ number as u8; 5000];
                client.write_all(&sent).expect("the host reads");
                let mut heard = [0; 5000];
                client.read_exact(&mut heard).expect("the host answers");
                assert_eq!(heard, sent);
            }
        }
        drop(clients);
        // One that says nothing is told so.
        let mut silent = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let mut heard = String::new();
        silent.read_to_string(&mut heard).expect("the end");
        assert_eq!(heard, "Connection timed out\n");
        let mut rest = String::new();
        said.read_to_string(&mut rest).expect("its last line");
        assert!(server.0.wait().expect("it ends").success());
        assert_eq!(rest, "served 21\n");
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

/// Somebody who chats, by lines. Who hears nothing for too long fails.
struct Chatter(BufReader<TcpStream>);

impl Chatter {
    fn enter(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        Chatter(BufReader::new(stream))
    }

    fn says(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line
    }

    fn hears(&mut self, lines: &[&str]) {
        lines.iter().for_each(|line| assert_eq!(self.line(), format!("{line}\n")));
    }
}

/// A chat server on a backend, which gives up on who does not read after so many milliseconds.
fn chat(program: &Path, backend: &str, patience: &str) -> (Server, BufReader<ChildStdout>, u16) {
    let mut command = Command::new(program);
    command.args(["0", patience]).env("POLYPHONY_BACKEND", backend);
    let (server, said, line) = Server::start_with(&mut command);
    let port = line.rsplit(' ').next().and_then(|port| port.trim().parse().ok()).expect("a port");
    (server, said, port)
}

#[test]
fn the_chat_tells_each_room_what_is_said_there_and_everybody_that_it_ends() {
    for language in [Language::C, Language::Cplusplus] {
        let program = compile("examples/chat.c", language);
        for backend in backends() {
            let (mut server, mut said, port) = chat(&program, &backend, "60000");
            let mut ada = Chatter::enter(port);
            ada.hears(&["* guest1 is here"]);
            let mut bob = Chatter::enter(port);
            bob.hears(&["* guest2 is here"]);
            ada.hears(&["* guest2 is here"]);
            ada.says("/name ada\nhello\r\n/name ada\n");
            ada.hears(&["* guest1 is now ada", "ada: hello", "* you cannot have that name"]);
            bob.hears(&["* guest1 is now ada", "ada: hello"]);
            bob.says("/join cats\nmeow\n/who\n");
            bob.hears(&["* guest2 goes to cats", "* guest2 is here", "guest2: meow"]);
            bob.hears(&["* guest2 in cats", "* ada in lobby"]);
            ada.hears(&["* guest2 goes to cats"]);
            let mut dan = Chatter::enter(port);
            dan.hears(&["* guest3 is here"]);
            dan.says("/quit\n");
            assert_eq!(dan.line(), "");
            ada.hears(&["* guest3 is here", "* guest3 has left"]);
            server.terminate();
            ada.hears(&["* the server ends"]);
            bob.hears(&["* the server ends"]);
            let mut rest = String::new();
            said.read_to_string(&mut rest).expect("its last line");
            assert_eq!(rest, "3 clients were here\n");
            assert!(server.0.wait().expect("it ends").success());
        }
    }
}

#[test]
fn the_chat_drops_who_does_not_read_and_nobody_else() {
    let program = compile("examples/chat.c", Language::C);
    for backend in backends() {
        let (mut server, _said, port) = chat(&program, &backend, "300");
        let mut ada = Chatter::enter(port);
        ada.hears(&["* guest1 is here"]);
        let _silent = Chatter::enter(port);
        ada.hears(&["* guest2 is here"]);
        // Whoever does not read gets only what its connection has room for, while others go on.
        let line = format!("{}\n", "x".repeat(500));
        let dropped = (0..500_000).any(|_| {
            ada.says(&line);
            ada.line() == "* guest2 has left\n"
        });
        assert!(dropped, "half a million lines did not fill a connection that nobody reads from");
        server.terminate();
        assert!(server.0.wait().expect("it ends").success());
    }
}

/// Answers one request of HTTP, of which it tells the path. Reads all of it: what is closed unread is reset.
fn answer(mut client: TcpStream, with: impl Fn(&str) -> String) {
    let mut request = String::new();
    let mut reader = BufReader::new(client.try_clone().expect("a second name"));
    while !request.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut request).expect("a request"), 0);
    }
    let path = request.split(' ').nth(1).expect("a path");
    client.write_all(with(path).as_bytes()).expect("the client reads");
}

#[test]
fn the_fetcher_of_cplusplus_fetches_at_once_and_says_what_failed() {
    let program = compile("examples/cpp/fetch.cc", Language::Cplusplus);
    for backend in backends() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        let port = listener.local_addr().expect("its address").port().to_string();
        let fetch = |patience: &str, paths: &[&str]| {
            let mut command = Command::new(&program);
            command.args([patience, "127.0.0.1", &port]).args(paths).env("POLYPHONY_BACKEND", &backend);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
        };

        let running = fetch("60000", &["/a", "/long", "/c"]);
        // All three have asked before one is answered, or this would not go on.
        let clients: Vec<_> = (0..3).map(|_| listener.accept().expect("a client").0).collect();
        clients.into_iter().rev().for_each(|client| {
            answer(client, |path| format!("HTTP/1.0 200 OK\r\n\r\n{}", path.repeat(1000)));
        });
        let output = running.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        let line = |path: &str| format!("{path}: HTTP/1.0 200 OK, {} bytes\n", path.len() * 1000);
        assert_eq!(said, ["/a", "/long", "/c"].map(line).concat());
        assert!(output.status.success());

        let running = fetch("60000", &["/a", "/b"]);
        // One is answered badly; the other waits in vain, and is cancelled by that failure.
        let (first, _second) =
            (listener.accept().expect("a client").0, listener.accept().expect("a client").0);
        answer(first, |_| "nonsense".to_owned());
        let output = running.wait_with_output().expect("it ends");
        assert!(String::from_utf8_lossy(&output.stderr).contains(": no answer of HTTP\n"));
        assert_eq!(output.status.code(), Some(1));

        let running = fetch("300", &["/a", "/b"]);
        let output = running.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "fetch: the scope: Connection timed out\n");
        assert_eq!(output.status.code(), Some(1));
    }
}
