# frozen_string_literal: true

# One row of contract.rb, in a process of its own: prints nanoseconds (or bytes) a unit.
#
# Ours use what Polyphony 1 has and nothing else, so that a row asks of this gem what it asked of the original. A
# scheduler is there when the clock starts: in a thread that has none `sleep` and `IO.read` are Ruby's own.
#
# usage: contract_row.rb ours|bare cpu|wall NAME [NUMBER]
require "socket"
require "tempfile"
require_relative "measure"

who, clock, name, number = ARGV
CLOCK = clock.to_sym

# What is compressed.
TEXT = "The quick brown fox jumps over the lazy dog. " * 25_000

def per(units, floor: 0, &block) = Measure.per_unit(units, clock: CLOCK, floor: floor, &block)

# What ours and stock Ruby do alike.
module Work
  module_function

  CHUNK = 16_384
  CHUNKS = 30_000
  KILOBYTES = CHUNK / 1000.0

  def pieces(reader)
    loop { yield reader.readpartial(65_536) }
  rescue EOFError
    nil
  end

  def echo(socket)
    buffer = +""
    socket.write(buffer) while socket.readpartial(8_192, buffer)
  rescue EOFError, SystemCallError
    nil # the client has gone
  ensure
    socket.close
  end

  # A client's 20,000 requests.
  def requests(mode, server, connections, request, response)
    rounds = 20_000 / connections
    port = server.local_address.ip_port
    client = [RbConfig.ruby, "--disable-gems", "#{__dir__}/contract_client.rb", mode, port, connections, rounds, request, response]
    IO.popen(client.map(&:to_s), "r+") do |pipe|
      pipe.gets
      per(rounds * connections) do
        pipe.puts
        pipe.read
      end
    end
  end
end

# What the rows are ratios to: no Polyphony is loaded.
module Bare
  module_function

  # A switch between two fibers.
  def transfer
    count = 500_000
    main = Fiber.current
    other = Fiber.new { loop { main.transfer } }
    per(2 * count) { count.times { other.transfer } }
  end

  # A fiber made and resumed.
  def fiber
    count = 50_000
    per(count) { count.times { Fiber.new {}.resume } }
  end

  # A fiber that has begun, in bytes.
  def memory
    fibers = []
    Measure.growth_per_unit(10_000) { 10_000.times { fibers << Fiber.new { Fiber.yield }.tap(&:resume) } }
  end

  # A kilobyte compressed, by zlib alone.
  def zlib
    require "zlib"
    per(5 * TEXT.bytesize / 1000.0) { 5.times { Zlib.gzip(TEXT) } }
  end

  # A kilobyte through a pipe, from one thread to another.
  def pipe
    reader, writer = IO.pipe
    chunk = "x" * Work::CHUNK
    sum = 0
    drain = Thread.new { Work.pieces(reader) { |data| sum += data.bytesize } }
    per(Work::CHUNKS * Work::KILOBYTES) do
      Work::CHUNKS.times { writer.write(chunk) }
      writer.close
      drain.join
    end
  end

  # A request of one connection, which a thread waits for.
  def echo
    server = TCPServer.new("127.0.0.1", 0)
    Thread.new { Work.echo(server.accept.tap { |socket| socket.setsockopt(:TCP, :NODELAY, true) }) }
    Work.requests("keep", server, 1, "x" * 64, 64)
  end

  # A message from one thread to another.
  def threads
    count = 20_000
    there = Queue.new
    back = Queue.new
    Thread.new { loop { back << there.pop } }
    per(2 * count) { count.times { (there << true) && back.pop } }
  end
end

# Switches and fibers.
module Ours
  module_function

  def snooze_among(fibers)
    laps = 1_000_000 / fibers
    spun = Array.new(fibers) { spin { laps.times { snooze } } }
    per(laps * fibers) { Fiber.await(spun) }
  end

  def spin_await
    per(50_000) { 50_000.times { spin {}.await } }
  end

  def spin_batch(size)
    rounds = 50_000 / size
    per(rounds * size) do
      rounds.times do
        size.times { spin {} }
        Fiber.current.await_all_children
      end
    end
  end

  def memory
    grown { spin { suspend } }
  end

  def memory_asleep
    grown { spin { sleep 60 } }
  end

  def grown(&spun)
    spin { snooze }.await
    Measure.growth_per_unit(10_000) do
      10_000.times(&spun)
      2.times { snooze }
    end
  end
end

# Messages, queues and locks.
module Ours
  module_function

  def message_ping_pong
    count = 200_000
    pong = spin { loop { receive << true } }
    ping = spin do
      me = Fiber.current
      count.times do
        pong << me
        receive
      end
    end
    per(2 * count) { ping.await }
  end

  def message_one_way
    count = 500_000
    consumer = spin { count.times { receive } }
    per(count) do
      count.times do |i|
        consumer << i
        snooze if (i % 100).zero?
      end
      consumer.await
    end
  end

  def queue_4x4
    queue = Queue.new
    count = 50_000
    consumers = Array.new(4) { spin { count.times { queue.shift } } }
    producers = Array.new(4) do
      spin do
        count.times do |i|
          queue << i
          snooze if (i % 50).zero?
        end
      end
    end
    per(4 * count) { Fiber.await(*producers, *consumers) }
  end

  def mutex
    lock = Mutex.new
    fibers = Array.new(10) { spin { 20_000.times { lock.synchronize {} } } }
    per(200_000) { Fiber.await(fibers) }
  end

  def thread_messages
    count = 20_000
    me = Fiber.current
    Thread.new do
      me << Fiber.current
      loop { receive << true }
    end
    peer = receive
    per(2 * count) do
      count.times do
        peer << me
        receive
      end
    end
  end

  def thread_pool
    pool = Polyphony::ThreadPool.new(2)
    per(10_000) { 10_000.times { pool.process {} } }
  end
end

# Pipes and files.
module Ours
  module_function

  def pipe_ping_pong
    count = 50_000
    (here, there), (home, back) = IO.pipe, IO.pipe
    echo = spin do
      buffer = +""
      count.times { here.readpartial(16, buffer) && back.write("y") }
    end
    caller = spin do
      buffer = +""
      count.times { there.write("x") && home.readpartial(16, buffer) }
    end
    per(4 * count) { Fiber.await(echo, caller) }
  end

  # Nanoseconds a kilobyte (1,000 bytes).
  def pipe_throughput
    reader, writer = IO.pipe
    chunk = "x" * Work::CHUNK
    sum = 0
    drain = spin { reader.read_loop(65_536) { |data| sum += data.bytesize } }
    per(Work::CHUNKS * Work::KILOBYTES) do
      Work::CHUNKS.times { writer.write(chunk) }
      writer.close
      drain.await
    end
  end

  def pipe_pairs(pairs)
    count = 2_000
    message = "x" * 100
    fibers = Array.new(pairs) { IO.pipe }.flat_map do |reader, writer|
      [spin { (buffer = +"") && count.times { reader.readpartial(100, buffer) } },
       spin { count.times { writer.write(message) } }]
    end
    per(pairs * count * 2) { Fiber.await(fibers) }
  end

  def file_read
    path = file(4_096)
    per(10_000) { 10_000.times { IO.read(path) } }
  end

  # Nanoseconds a kilobyte of 64 MiB that go to /dev/null by way of a pipe.
  def splice_file
    path = file(64 << 20)
    per(4 * (64 << 20) / 1000.0) do
      4.times { File.open(path) { |from| File.open(File::NULL, "w") { |to| IO.double_splice(from, to) } } }
    end
  end

  # Nanoseconds a kilobyte; zlib is loaded by then.
  def gzip
    IO.gzip("", +"")
    per(5 * TEXT.bytesize / 1000.0) { 5.times { IO.gzip(TEXT, +"") } }
  end

  # A file of so many bytes, until the process ends.
  def file(bytes)
    @file = Tempfile.new("polyphony-bench")
    bytes.fdiv(1 << 20).ceil.times { @file.write("x" * [bytes, 1 << 20].min) }
    @file.flush
    at_exit { @file.close! }
    @file.path
  end
end

# Sleeps, timeouts and cancellation.
module Ours
  module_function

  def sleep_sequence
    per(5_000) { 5_000.times { sleep 0.000_001 } }
  end

  def sleep_together
    count = 20_000
    per(count, floor: 50_000_000) do
      count.times { spin { sleep 0.05 } }
      Fiber.current.await_all_children
    end
  end

  def sleep_churn
    fibers = Array.new(1_000) { spin { 50.times { sleep 0.001 } } }
    per(50_000) { Fiber.await(fibers) }
  end

  def timeout_armed
    per(50_000) { 50_000.times { cancel_after(10) {} } }
  end

  def timeout_around_snooze
    per(50_000) { 50_000.times { move_on_after(10) { snooze } } }
  end

  def timeout_fired
    fibers = Array.new(5_000) { spin { move_on_after(0.01) { sleep } } }
    per(5_000, floor: 10_000_000) { Fiber.await(fibers) }
  end

  def cancelled_sleepers
    fibers = Array.new(5_000) { spin { sleep 60 } }
    sleep 0.1
    per(5_000) do
      fibers.each(&:stop)
      Fiber.await(fibers)
    end
  end
end

# Servers. What is measured is their CPU time, or in wall time the client's too.
module Ours
  module_function

  def echo(connections)
    serve("keep", connections, "x" * 64, 64) { |socket| Work.echo(socket) }
  end

  REQUEST = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n\r\n"
  RESPONSE = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello world!\n"

  def http(connections)
    serve("keep", connections, REQUEST, RESPONSE.bytesize) do |socket|
      socket.recv_loop { |data| data.scan("\r\n\r\n").size.times { socket.write(RESPONSE) } }
    end
  end

  # A connection, a byte there and back, and the end of it; so many at a time.
  def accept(clients)
    serve("accept", clients, "x", 1) { |socket| socket.write(socket.readpartial(16)) }
  end

  # Serves so many connections, each in a fiber of its own.
  def serve(mode, connections, request, response, &handler)
    server = Polyphony::Net.tcp_listen("127.0.0.1", 0, reuse_addr: true)
    spin { server.accept_loop { |socket| spin { attend(socket, &handler) } } }
    Work.requests(mode, server, connections, request, response)
  end

  def attend(socket)
    yield socket
  rescue EOFError, SystemCallError
    nil # the client has gone
  ensure
    socket.close
  end
end

require "polyphony" if who == "ours"
snooze if who == "ours"
(who == "ours" ? Ours : Bare).public_send(name, *number&.to_i)
