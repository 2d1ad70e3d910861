# frozen_string_literal: true

require "open3"
require_relative "child"

# The programs of gem/examples, each in a process of its own.
module Programs
  DIRECTORY = File.expand_path("../../gem/examples", __dir__)

  # One that runs, and says something from time to time; its complaints are among what it says.
  Running = Struct.new(:pid, :output) do
    # Its next line.
    def line = output.gets(chomp: true)

    # The port that its next line tells.
    def port = Integer(line[/:(\d+)\z/, 1])

    def signal(name) = ::Process.kill(name, pid)
  end

  module_function

  def command(name, arguments)
    ["timeout", "-k", "1", Child::LIMIT, *Child::RUBY, "-I", Child::LIBRARY, "#{DIRECTORY}/#{name}.rb", *arguments.map(&:to_s)]
  end

  # Runs a program to its end: what it printed. It must neither fail nor complain.
  def run_program(name, *arguments, input: "", complaints: "")
    # In a thread that runs no fibers: what is tested here is the other process.
    out, err, status = Thread.new { Open3.capture3(*command(name, arguments), stdin_data: input) }.value
    expect([status.success?, err]).to match([true, complaints]), "#{name}: #{status}\n#{out}\n#{err}"
    out
  end

  # Starts a program, yields it, and ends it by a signal, unless that is nil: what it said that was not read.
  # It must end well.
  def serving(name, *arguments, signal: "INT")
    output, theirs = IO.pipe
    # Without timeout(1), which would keep the signals for itself; the watchdog knows the process.
    pid = spawn(*command(name, arguments).drop(4), out: theirs, err: theirs, in: File::NULL)
    Child.pids << pid
    theirs.close
    program = Running.new(pid, output)
    yield program
    program.signal(signal) if signal
    rest = output.read
    status = finished(pid)
    expect(status).to be_success, "#{name}: #{status}\n#{rest}"
    rest
  ensure
    output&.close
    finished(pid, by_force: true) if Child.pids.include?(pid)
  end

  def finished(pid, by_force: false)
    Process.kill(:KILL, pid) if by_force
    Process.wait2(pid).last.tap { Child.pids.delete(pid) }
  end

  # A client's connection, closed at the block's end.
  def connected(port)
    socket = TCPSocket.new("127.0.0.1", port)
    yield socket
  ensure
    socket&.close
  end

  # Sends all of it, and its end: the whole answer.
  def exchange(port, text)
    connected(port) do |socket|
      socket.write(text)
      socket.close_write
      socket.read
    end
  end

  # Serves every connection with the block, in a fiber of the caller, while another block runs with the port.
  def with_server(handler)
    server = TCPServer.new("127.0.0.1", 0)
    acceptor = spin do
      server.accept_loop do |socket|
        spin do
          handler.call(socket)
        ensure
          socket.close
        end
      end
    end
    yield server.addr[1]
  ensure
    acceptor&.stop&.await
    server&.close
  end
end
