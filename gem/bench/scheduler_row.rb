# frozen_string_literal: true

# One cell of schedulers.rb, in a process of its own: a scenario in one of the ways to run many things at once. It
# prints CPU time (user and system) of this process, or what the scenario says.
#
# The bodies are stock Ruby, the same in every way: only how they are started differs.
#
# usage: scheduler_row.rb threads|async|alone|drop-in SCENARIO
require "socket"
require "tempfile"
require_relative "measure"

# How bodies are started and waited for.
module Ways
  # A thread each.
  class Threads
    def initialize = @started = ::Thread::Queue.new

    def start(&body) = @started << Thread.new(&body)

    # Until all have ended, those too that are started meanwhile.
    def finish
      @started.pop.join until @started.empty?
    end

    def pass = Thread.pass
  end

  # Fibers of Ruby's own scheduler interface.
  class Scheduled
    def initialize(scheduler) = Fiber.set_scheduler(scheduler)

    def start(&body) = Fiber.schedule(&body)

    def finish = Fiber.scheduler.run

    def pass = sleep(0)
  end

  # Async's scheduler is Ruby's, and has a shorter way to let others run.
  class Async < Scheduled
    def pass = Fiber.scheduler.yield
  end

  # Ours, in the API of its own.
  class DropIn
    def initialize = snooze

    def start(&body) = spin(&body)

    def finish = Fiber.current.await_all_children

    def pass = snooze
  end

  def self.of(name)
    case name
    when "threads" then Threads.new
    when "async" then require("async") && Async.new(::Async::Scheduler.new)
    when "alone" then require("polyphony/bare") && Scheduled.new(Polyphony::FiberScheduler.new)
    when "drop-in" then require("polyphony") && DropIn.new
    end
  end
end

# Each begins with what is not measured.
class Scenario
  def initialize(way)
    @way = way
  end

  def run(name) = public_send(name)

  # 50 pairs, a kilobyte at a time.
  def pipes
    message = "x" * 1_024
    pairs = Array.new(50) { IO.pipe.each(&:binmode) }
    total do
      pairs.each do |reader, writer|
        start { 2_000.times { writer.write(message) } && writer.close }
        start { 2_000.times { reader.readpartial(1_024) } }
      end
    end
  end

  # 50 pairs, 16 kilobytes at a time.
  def socketpairs
    message = "x" * 16_384
    pairs = Array.new(50) { UNIXSocket.pair }
    total do
      pairs.each do |reader, writer|
        start { 1_000.times { writer.write(message) } && writer.close }
        start { 1_000.times { reader.read(16_384) } }
      end
    end
  end

  # 10 locks, each of 10 that compute while they hold it.
  def mutex_with_work
    require "digest"
    text = "x" * 1_024
    locked(2_000) { Digest::SHA256.digest(text) }
  end

  # 10 locks, each of 10 that write to a file while they hold it.
  def mutex_with_writes
    text = "x" * 1_024
    locked(500) do |file|
      file.rewind
      file.write(text)
    end
  end

  # 20 queues, each with two producers and two consumers.
  def queues
    queues = Array.new(20) { ::Thread::Queue.new }
    total do
      queues.each do |queue|
        2.times { start { 5_000.times { |i| queue << i } } }
        2.times { start { 5_000.times { queue.pop } } }
      end
    end
  end

  # The same with queues that have little room.
  def narrow_queues
    queues = Array.new(20) { ::Thread::SizedQueue.new(4) }
    total do
      queues.each do |queue|
        2.times { start { 2_000.times { |i| queue << i } } }
        2.times { start { 2_000.times { queue.pop } } }
      end
    end
  end

  # 40 connections to a server, in the directory that the environment names.
  def postgres
    require "pg"
    connections = Array.new(40) { PG.connect(host: ENV.fetch("POSTGRES"), user: "postgres", dbname: "postgres") }
    total do
      connections.each { |connection| start { 400.times { connection.exec("select 1").clear } } }
    end
  end

  # 500 that are in four timeouts, one in the other; the innermost expires.
  def timeouts
    require "timeout"
    total { 500.times { start { 10.times { expire } } } }
  end

  RESPONSE = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello world!\n"

  # Microseconds of CPU for a request of one of 64 connections.
  def http
    serve_wrk do |wrk|
      began = Measure.cpu
      requests = wrk.()
      (Measure.cpu - began).fdiv(requests * 1_000)
    end
  end

  # System calls for such a request.
  def http_calls
    counts = Tempfile.new
    serve_wrk do |wrk|
      tracer = trace(counts.path)
      requests = wrk.()
      Process.kill(:TERM, tracer)
      Process.wait(tracer)
      calls = File.foreach(counts.path).filter_map { |line| line[/\A\s*[\d.]+\s+\S+\s+\S+\s+(\d+)\s.*\btotal$/, 1] }
      calls.first.to_f / requests
    end
  end

  # Microseconds of CPU for a message of 64 bytes of one of 64 connections.
  def echo
    load_of("keep", 64, 400, "x" * 64, 64) do |socket|
      while (message = socket.readpartial(8_192))
        socket.write(message)
      end
    end
  end

  # Microseconds of CPU for a connection, a byte there and back, and the end of it.
  def churn
    load_of("accept", 8, 500, "x", 1) { |socket| socket.write(socket.readpartial(16)) }
  end

  # Microseconds by which the 99th of 100 sleeps of 10 ms is late, beside 1,000 that only let others run.
  def lateness
    late = []
    1_000.times { start { loop { @way.pass } } }
    start do
      100.times { late << overslept(0.01) }
      Measure.tell late.sort[98] * 1_000_000
    end
    @way.finish
  end

  private

  def start(&body) = @way.start(&body)

  # Milliseconds of CPU until all that the block starts has ended.
  def total
    began = Measure.cpu
    yield
    @way.finish
    Measure.tell (Measure.cpu - began).fdiv(1_000_000)
  end

  def locked(times)
    total do
      10.times do
        lock = ::Thread::Mutex.new
        file = Tempfile.new.tap { |made| made.sync = true }
        10.times { start { times.times { lock.synchronize { yield file } } } }
      end
    end
  end

  def expire
    nested(4)
  rescue Timeout::Error
    nil
  end

  def nested(depth)
    Timeout.timeout(0.01 * (10**(depth - 1))) { depth > 1 ? nested(depth - 1) : sleep }
  end

  def overslept(span)
    due = Process.clock_gettime(Process::CLOCK_MONOTONIC) + span
    sleep span
    Process.clock_gettime(Process::CLOCK_MONOTONIC) - due
  end

  # Listens, and serves each connection with the block.
  def serve(&handler)
    server = TCPServer.new("127.0.0.1", 0)
    server.listen(1_024)
    start do
      loop do
        socket = server.accept
        start { attend(socket, &handler) }
      end
    end
    server.local_address.ip_port
  end

  def attend(socket)
    socket.setsockopt(:TCP, :NODELAY, true)
    yield socket
  rescue EOFError, SystemCallError
    nil # the client has gone
  ensure
    socket.close
  end

  # Serves a client in a process of its own.
  def load_of(mode, connections, rounds, request, response, &handler)
    port = serve(&handler)
    client = ["--disable-gems", "#{__dir__}/contract_client.rb", mode, port, connections, rounds, request, response]
    pipe = IO.popen([RbConfig.ruby, *client.map(&:to_s)], "r+")
    beside do
      pipe.gets
      began = Measure.cpu
      pipe.puts
      pipe.read
      (Measure.cpu - began).fdiv(rounds * connections * 1_000)
    end
  end

  # Serves wrk, which the block is given: it makes requests for two seconds and says how many.
  def serve_wrk
    port = serve { |socket| socket.write(RESPONSE) while socket.gets("\r\n\r\n") }
    pipe = IO.popen(["sh", "-c", "read go; exec wrk -t 1 -c 64 -d 2 http://127.0.0.1:#{port}/"], "r+")
    wrk = lambda do
      pipe.puts
      Integer(pipe.read[/(\d+) requests in/, 1])
    end
    beside { yield wrk }
  end

  # Tells what the block says, from a thread that is no part of what is measured: it waits for somebody else's end.
  def beside
    Thread.new do
      Thread.current.abort_on_exception = true
      Measure.tell yield
    end
    @way.finish
  end

  def trace(path)
    tracer = spawn("strace", "-c", "-f", "-p", Process.pid.to_s, "-o", path, err: File::NULL)
    sleep 0.01 until File.read("/proc/self/status").match?(/^TracerPid:\s*[1-9]/)
    tracer
  end
end

Scenario.new(Ways.of(ARGV[0])).run(ARGV[1])
