//! The load program: drives a server on the loopback with many keep-alive connections at once, and
//! checks every byte of every response.
//!
//!     load http|echo PORT [--connections N] [--requests N] [--size BYTES] [--seconds N] [--server PID]
//!
//! One thread, one epoll, nothing of Polyphony: what measures is not what is measured. A request is
//! known with its whole response before it is sent, so that a wrong, missing or surplus byte is seen
//! where it comes. Requests are cut into pieces at odd places, and a piece is written only when all
//! other connections have had their turn: the server sees lines and bodies arrive in halves.
//!
//!     connect ──▶ Writing ──whole request sent──▶ Reading ──whole response right──▶ next request
//!                    ▲ a piece a turn                                    │ none left
//!                    └───────────────────────────────────────────────────┴──▶ closed
//!
//! With `--server` it also tells what CPU time that process, with its part of the kernel, took for a request.
//! Counting begins when there have been as many answers as there are connections: all are made by then.
//!
//! It exits with 1 where a byte was wrong, a request unfinished or `--seconds` have passed: it cannot hang.

use std::{
    collections::VecDeque,
    env, fmt,
    io::{self, ErrorKind, IsTerminal, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let options = match Options::from_args(env::args().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!(
                "load: {complaint}\nusage: load http|echo PORT [--connections N] [--requests N] [--size BYTES] [--seconds N] [--server PID]"
            );
            return ExitCode::from(2);
        }
    };
    match Load::new(options).and_then(Load::run) {
        Ok(report) => {
            print!("{report}");
            if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Clone, Copy)]
struct Options {
    protocol: Protocol,
    port: u16,
    connections: usize,
    requests: usize,
    /// The bytes of every request body; mixed where it is not given.
    size: Option<usize>,
    patience: Duration,
    server: Option<libc::pid_t>,
}

#[derive(Clone, Copy)]
enum Protocol {
    Http,
    Echo,
}

impl Options {
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let protocol = match args.next().as_deref() {
            Some("http") => Protocol::Http,
            Some("echo") => Protocol::Echo,
            _ => return Err("which protocol?".into()),
        };
        let port = args.next().and_then(|port| port.parse().ok()).ok_or("which port?")?;
        let patience = Duration::from_secs(120);
        let mut options = Options {
            protocol,
            port,
            connections: 1000,
            requests: 100_000,
            size: None,
            patience,
            server: None,
        };
        while let Some(name) = args.next() {
            let value: usize =
                args.next().and_then(|value| value.parse().ok()).ok_or(format!("{name}: which number?"))?;
            match name.as_str() {
                "--connections" => options.connections = value.max(1),
                "--requests" => options.requests = value,
                "--size" => options.size = Some(value.max(1)),
                "--seconds" => options.patience = Duration::from_secs(value as u64),
                "--server" => options.server = Some(value as libc::pid_t),
                _ => return Err(format!("{name} is no option")),
            }
        }
        Ok(options)
    }
}

/// All connections, and what has become of their requests.
struct Load {
    options: Options,
    epoll: Epoll,
    connections: Vec<Option<Connection>>,
    /// Connections that have another piece to write, in the order of their turns.
    writers: VecDeque<usize>,
    open: usize,
    latencies: Vec<Duration>,
    errors: Vec<String>,
    progress: Progress,
    started: Instant,
    server: Option<Meter>,
}

impl Load {
    fn new(options: Options) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let began = Instant::now();
        let mut connections = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let stream = connect(options.port, began + options.patience.min(CONNECT_PATIENCE))?;
            epoll.add(&stream, number)?;
            let share = options.requests / options.connections
                + usize::from(number < options.requests % options.connections);
            connections.push((share > 0).then(|| Connection::new(stream, number, share, &options)));
        }
        let open = connections.iter().flatten().count();
        Ok(Load {
            epoll,
            writers: (0..open).collect(),
            connections,
            open,
            latencies: Vec::with_capacity(options.requests),
            errors: Vec::new(),
            progress: Progress::new(options.requests),
            started: Instant::now(),
            server: options.server.map(Meter::new).transpose()?,
            options,
        })
    }

    fn run(mut self) -> io::Result<Report> {
        let deadline = self.started + self.options.patience;
        let mut ready = Vec::new();
        while self.open > 0 && Instant::now() < deadline {
            let pause = if self.writers.is_empty() { Duration::from_millis(100) } else { Duration::ZERO };
            self.epoll.wait(pause, &mut ready)?;
            for number in ready.drain(..) {
                self.step(number, Connection::read);
            }
            for _ in 0..self.writers.len() {
                let number = self.writers.pop_front().expect("no more are taken than were there");
                self.step(number, Connection::write);
            }
            self.progress.show(self.latencies.len());
            if let Some(meter) = &mut self.server
                && self.latencies.len() >= self.options.connections
            {
                meter.begin(self.latencies.len());
            }
        }
        Ok(self.report())
    }

    /// Moves one connection on, and sees where that leaves it.
    fn step(&mut self, number: usize, step: fn(&mut Connection) -> Result<Step, String>) {
        let Some(connection) = &mut self.connections[number] else { return };
        match step(connection) {
            Ok(Step::Blocked) => {}
            Ok(Step::MorePieces) => self.writers.push_back(number),
            Ok(Step::Answered(latency)) => {
                self.latencies.push(latency);
                if connection.next_request(&self.options) {
                    self.writers.push_back(number);
                } else {
                    self.close(number);
                }
            }
            Err(complaint) => {
                self.errors.push(format!("connection {number}: {complaint}"));
                self.close(number);
            }
        }
    }

    fn close(&mut self, number: usize) {
        self.connections[number] = None;
        self.open -= 1;
    }

    fn report(mut self) -> Report {
        self.progress.finish();
        let server = self.server.as_ref().and_then(|meter| meter.per_request(self.latencies.len()));
        self.latencies.sort_unstable();
        Report {
            asked: self.options.requests,
            connections: self.options.connections,
            elapsed: self.started.elapsed(),
            latencies: self.latencies,
            errors: self.errors,
            server,
        }
    }
}

/// The CPU clock of another process, and what it showed when counting began.
struct Meter {
    clock: libc::clockid_t,
    start: Option<(Duration, usize)>,
}

impl Meter {
    fn new(process: libc::pid_t) -> io::Result<Self> {
        let mut clock = 0;
        // SAFETY: room for a clock's number.
        match unsafe { libc::clock_getcpuclockid(process, &mut clock) } {
            0 => Ok(Meter { clock, start: None }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Counts from here, after so many requests, unless it counts already.
    fn begin(&mut self, requests: usize) {
        if self.start.is_none() {
            self.start = self.now().map(|cpu| (cpu, requests));
        }
    }

    fn per_request(&self, requests: usize) -> Option<Duration> {
        let ((cpu, earlier), now) = (self.start?, self.now()?);
        Some((now - cpu) / u32::try_from(requests - earlier).ok().filter(|&count| count > 0)?)
    }

    /// Nothing where the process has ended.
    fn now(&self) -> Option<Duration> {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: room for a timespec.
        let told = unsafe { libc::clock_gettime(self.clock, &mut now) };
        (told == 0).then(|| Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
    }
}

/// The server may still be starting: it is asked again for a while.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

fn connect(port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(io::Error::new(error.kind(), format!("connect to {address}: {error}"))),
        }
    }
}

/// One keep-alive connection and the request that it is at.
struct Connection {
    stream: TcpStream,
    random: Random,
    left: usize,
    request: Request,
    written: usize,
    read: usize,
    began: Instant,
}

/// Where a step leaves a connection.
enum Step {
    /// It waits for the server.
    Blocked,
    /// It has more to write, but others come first.
    MorePieces,
    /// The response is there, and right.
    Answered(Duration),
}

impl Connection {
    fn new(stream: TcpStream, number: usize, share: usize, options: &Options) -> Self {
        let mut random = Random(number as u64 + 1);
        let request = Request::new(&mut random, options);
        Connection { stream, random, left: share - 1, request, written: 0, read: 0, began: Instant::now() }
    }

    /// Makes the next request; false where it was the last.
    fn next_request(&mut self, options: &Options) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.request = Request::new(&mut self.random, options);
        (self.written, self.read) = (0, 0);
        true
    }

    /// Writes one piece, or what the socket takes of it.
    fn write(&mut self) -> Result<Step, String> {
        if self.written == 0 {
            self.began = Instant::now();
        }
        let bytes = &self.request.bytes;
        let cut = self.request.cuts.iter().copied().find(|&cut| cut > self.written).unwrap_or(bytes.len());
        match self.stream.write(&bytes[self.written..cut]) {
            Ok(count) => self.written += count,
            // The peer reads slowly: come back in the next turn.
            Err(error) if is_temporary(&error) => return Ok(Step::MorePieces),
            Err(error) => return Err(format!("write: {error}")),
        }
        Ok(if self.written < self.request.bytes.len() { Step::MorePieces } else { Step::Blocked })
    }

    /// Reads what is there and compares it with what should be there.
    fn read(&mut self) -> Result<Step, String> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(format!("closed after {} bytes of {}", self.read, self.request)),
                Ok(count) => count,
                Err(error) if is_temporary(&error) => return Ok(Step::Blocked),
                Err(error) => return Err(format!("read: {error}")),
            };
            self.compare(&buffer[..count])?;
            if self.read == self.request.response.len() {
                return self.answered();
            }
        }
    }

    fn compare(&mut self, bytes: &[u8]) -> Result<(), String> {
        let rest = &self.request.response[self.read..];
        if rest.starts_with(bytes) {
            self.read += bytes.len();
            return Ok(());
        }
        let same = rest.iter().zip(bytes).take_while(|(wanted, got)| wanted == got).count();
        let got = String::from_utf8_lossy(&bytes[same..bytes.len().min(same + 60)]);
        Err(format!(
            "byte {} of the response to {} is wrong; there stands {got:?}",
            self.read + same,
            self.request
        ))
    }

    fn answered(&self) -> Result<Step, String> {
        if self.written < self.request.bytes.len() {
            return Err(format!("{} was answered before it was sent", self.request));
        }
        Ok(Step::Answered(self.began.elapsed()))
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// A request, where it is cut, and its whole response.
struct Request {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
    response: Vec<u8>,
}

impl Request {
    fn new(random: &mut Random, options: &Options) -> Self {
        let (bytes, response) = match options.protocol {
            Protocol::Http => http(random, options.size),
            Protocol::Echo => {
                let count = options.size.unwrap_or_else(|| random.size());
                let body = random.bytes(count);
                (body.clone(), body)
            }
        };
        // A fixed size is for measuring: nothing is cut then.
        let cuts = if options.size.is_some() { Vec::new() } else { random.cuts(bytes.len()) };
        Request { bytes, cuts, response }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
        match line.starts_with(b"GET ") || line.starts_with(b"POST ") {
            true => write!(f, "`{}`", String::from_utf8_lossy(line)),
            false => write!(f, "an echo of {} bytes", self.bytes.len()),
        }
    }
}

/// One of the requests that `gem/examples/http_server.rb` answers, and its answer.
fn http(random: &mut Random, size: Option<usize>) -> (Vec<u8>, Vec<u8>) {
    let get =
        |path: String| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").into_bytes();
    let kind = if size.is_some() { 1 } else { random.below(3) };
    match kind {
        0 => (get("/".into()), http_response(b"Hello from a fiber.\n")),
        1 => {
            let count = size.unwrap_or_else(|| random.size());
            let body: Vec<u8> = (0..count).map(|i| 33 + (i % 89) as u8).collect();
            (get(format!("/bytes/{count}")), http_response(&body))
        }
        _ => {
            let count = random.size();
            let body = random.bytes(count);
            let mut request =
                format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {count}\r\n\r\n")
                    .into_bytes();
            request.extend_from_slice(&body);
            (request, http_response(&body))
        }
    }
}

fn http_response(body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}

/// Marsaglia's xorshift: the same requests every time, connection by connection.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % limit
    }

    /// Mostly small, at times several buffers long.
    fn size(&mut self) -> usize {
        match self.below(100) {
            0 => 1 + self.below(200_000),
            1..10 => 1 + self.below(20_000),
            _ => 1 + self.below(300),
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    /// Up to three cuts anywhere, in order; often none.
    fn cuts(&mut self, len: usize) -> Vec<usize> {
        let count = self.below(8).saturating_sub(4);
        let mut cuts: Vec<usize> = (0..count).map(|_| self.below(len)).collect();
        cuts.sort_unstable();
        cuts
    }
}

/// A line on a terminal, or a line each tenth elsewhere.
struct Progress {
    all: usize,
    live: bool,
    shown: usize,
    at: Instant,
}

impl Progress {
    fn new(all: usize) -> Self {
        Progress { all, live: io::stderr().is_terminal(), shown: 0, at: Instant::now() }
    }

    fn show(&mut self, done: usize) {
        if self.live && self.at.elapsed() > Duration::from_millis(100) {
            self.at = Instant::now();
            eprint!("\r{done} of {} requests", self.all);
        }
        let tenth = done * 10 / self.all.max(1);
        if !self.live && tenth > self.shown {
            self.shown = tenth;
            eprintln!("{done} of {} requests", self.all);
        }
    }

    /// Leaves the terminal's line to whoever writes next.
    fn finish(&self) {
        if self.live {
            eprint!("\r\x1b[K");
        }
    }
}

/// What came of it.
struct Report {
    asked: usize,
    connections: usize,
    elapsed: Duration,
    latencies: Vec<Duration>,
    errors: Vec<String>,
    server: Option<Duration>,
}

impl Report {
    fn is_good(&self) -> bool {
        self.errors.is_empty() && self.latencies.len() == self.asked
    }

    fn percentile(&self, percent: usize) -> f64 {
        let index = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    }
}

/// One tab-separated name and value a line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.latencies.len();
        writeln!(f, "connections\t{}", self.connections)?;
        writeln!(f, "requests, every byte right\t{done} of {}", self.asked)?;
        writeln!(f, "requests/s\t{:.0}", done as f64 / self.elapsed.as_secs_f64())?;
        for percent in [50, 95, 99] {
            writeln!(f, "p{percent}\t{:.2} ms", self.percentile(percent))?;
        }
        if let Some(cpu) = self.server {
            writeln!(f, "server's CPU a request\t{} ns", cpu.as_nanos())?;
        }
        writeln!(f, "errors\t{}", self.errors.len())?;
        self.errors.iter().take(5).try_for_each(|error| writeln!(f, "error\t{error}"))
    }
}

/// Edge-less epoll over reading; who writes is asked for in turns.
struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made just now, and nobody else has it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn add(&self, stream: &TcpStream, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
        let (epoll, fd) = (self.0.as_raw_fd(), stream.as_raw_fd());
        // SAFETY: both descriptors are open, and the event outlives the call.
        let added = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn wait(&self, pause: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        let millis = pause.as_millis() as i32;
        // SAFETY: `events` has as many places as the call is told.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 256, millis) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        ready.extend(events[..count as usize].iter().map(|event| event.u64 as usize));
        Ok(())
    }
}
