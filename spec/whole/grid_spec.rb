# frozen_string_literal: true

require "socket"
require "io/wait"
require "tempfile"

# Each operation that Ruby can ask for, in each situation that it can get into; the core's own grid is in
# core/tests/backends. A row says what is called, what the other side does about it and what comes of it, a
# column what is done with that.
RSpec.describe "The grid" do
  GRID = {
    "IO#readpartial" => "whole short end error cancelled timed_out closed full",
    "IO#read" => "whole short end error cancelled timed_out closed full",
    "IO#gets" => "whole short end error cancelled timed_out closed full",
    "IO#getc" => "whole end error cancelled timed_out closed full",
    "IO#sysread" => "whole short end error cancelled timed_out closed full",
    "IO#eof?" => "whole end error cancelled timed_out closed full",
    "IO#wait_readable" => "whole end cancelled timed_out full",
    "IO.select" => "whole end cancelled timed_out full",
    "File#readpartial" => "whole short end error cancelled_or_done timed_out_or_done full",
    "IO#write" => "whole error cancelled timed_out closed full",
    "IO#<<" => "whole error cancelled timed_out closed full",
    "BasicSocket#recv" => "whole short end error cancelled timed_out closed full",
    "TCPSocket#readpartial" => "whole short end error cancelled timed_out closed full",
    "UNIXSocket#readpartial" => "whole short end cancelled timed_out closed full",
    "UDPSocket#recvfrom" => "whole short end error cancelled timed_out closed full",
    "UDPSocket#send" => "whole error cancelled_or_done timed_out_or_done full",
    "BasicSocket#send" => "whole error cancelled timed_out closed full",
    "TCPServer#accept" => "whole cancelled timed_out closed full",
    "UNIXServer#accept" => "whole cancelled timed_out closed full",
    "Socket#accept" => "whole error cancelled timed_out closed full",
    "TCPSocket.new" => "whole error cancelled_or_done timed_out_or_done full",
    "UNIXSocket.new" => "whole error cancelled_or_done timed_out_or_done full",
    "Process.wait" => "whole error cancelled timed_out full",
    "sleep" => "whole cancelled_or_done timed_out_or_done full"
  }.transform_values(&:split).freeze

  # What is called, on what, what makes it end, and what it then gives: a value or the class of an error.
  Scene = Struct.new(:io, :act, :result, :call)

  def scene(io, result, act = -> {}, &call) = Scene.new(io, act, result, call)

  # The rows. `at` is the situation: whole, short, end or error.
  def row(name, at)
    case name
    when "IO#readpartial" then reading(at, pipe) { |io| io.readpartial(8) }
    when "IO#read" then reading(at, pipe, nothing: nil) { |io| io.read(8) }
    when "IO#gets" then reading(at, pipe, nothing: nil) { |io| io.gets("n") }
    when "IO#getc" then reading(at, pipe, all: "p", nothing: nil, &:getc)
    when "IO#sysread" then reading(at, pipe) { |io| io.sysread(8) }
    when "IO#eof?" then reading(at, pipe, all: false, nothing: true, &:eof?)
    when "IO#wait_readable"
      pipe.then { |ends| reading(at, ends, all: ends[0], nothing: ends[0], &:wait_readable) }
    when "IO.select"
      pipe.then do |ends|
        ready = [[ends[0]], [], []]
        reading(at, ends, all: ready, nothing: ready) { |io| IO.select([io]) }
      end
    when "File#readpartial" then file(at) { |io| io.readpartial(8) }
    when "IO#write" then writing(at, pipe, result: 8) { |io| io.write("polyphon") }
    when "IO#<<" then pipe.then { |ends| writing(at, ends, result: ends[1]) { |io| io << "polyphon" } }
    when "BasicSocket#recv" then reading(at, tcp_pair, nothing: RUBY_VERSION < "3.3" ? "" : nil) { |io| io.recv(8) }
    when "TCPSocket#readpartial" then reading(at, tcp_pair) { |io| io.readpartial(8) }
    when "UNIXSocket#readpartial" then reading(at, unix_pair) { |io| io.readpartial(8) }
    when "UDPSocket#recvfrom" then receiving(at)
    when "UDPSocket#send" then sending(at)
    when "BasicSocket#send" then writing(at, unix_pair, result: 8) { |io| io.send("polyphon", 0) }
    when "TCPServer#accept" then listen.then { |server| accepting(server) { visit(server.addr[1]) } }
    when "UNIXServer#accept" then accepting(unix_server) { |server| closing(UNIXSocket.new(server.path)) }
    when "Socket#accept" then at == :error ? deaf : socket.then { |server| accepting(server) { visit(port_of(server)) } }
    when "TCPSocket.new" then tcp_client(at)
    when "UNIXSocket.new" then unix_client(at)
    when "Process.wait" then waiting(at)
    when "sleep" then scene(nil, nil) { sleep 0.002 }
    end
  end

  def reading(at, (io, other), all: "polyphon", nothing: EOFError, &call)
    case at
    when :whole then scene(io, all, -> { other << "polyphon" }) { call.(io) }
    when :short then scene(io, "pol", -> { other << "pol"; other.close }) { call.(io) }
    when :end then scene(io, nothing, -> { other.close }) { call.(io) }
    when :error then io.is_a?(TCPSocket) ? reset(io, other, &call) : directory(&call)
    end
  end

  def reset(io, other, &call)
    hang_up = -> { other.setsockopt(Socket::Option.linger(true, 0)); other.close }
    scene(io, Errno::ECONNRESET, hang_up) { call.(io) }
  end

  def directory(&call) = closing(File.open("/")).then { |io| scene(io, Errno::EISDIR) { call.(io) } }

  def file(at, &call)
    return directory(&call) if at == :error

    io = closing(Tempfile.new)
    text = { whole: "polyphony", short: "pol", end: "" }.fetch(at)
    io.write(text)
    io.rewind
    scene(io, at == :end ? EOFError : text[0, 8]) { call.(io) }
  end

  # Into what is full, until the other side makes room or leaves.
  def writing(at, (one, other), result:, &call)
    other, one = one, other unless one.is_a?(Socket) || one.is_a?(UNIXSocket)
    nil until one.write_nonblock("." * 65_536, exception: false) == :wait_writable
    case at
    when :whole then scene(one, result, -> { drain(other) }) { call.(one) }
    when :error then scene(one, Errno::EPIPE, -> { other.close }) { call.(one) }
    end
  end

  def drain(io)
    nil until io.read_nonblock(65_536, exception: false) == :wait_readable
  end

  def datagrams
    here, there = closing(UDPSocket.new, UDPSocket.new)
    here.bind("127.0.0.1", 0)
    there.connect("127.0.0.1", here.addr[1])
    [here, there]
  end

  def receiving(at)
    here, there = datagrams
    text = { whole: "polyphon", short: "pol", end: "" }[at]
    return scene(here, text, -> { there.send(text, 0) }) { here.recvfrom(8)[0] } if text

    # Who sends to nobody is told at its next call.
    here.close
    scene(there, Errno::ECONNREFUSED, -> { there.send("?", 0) }) { there.recvfrom(8) }
  end

  def sending(at)
    there = datagrams[1]
    return scene(there, Errno::EMSGSIZE) { there.send("." * 70_000, 0) } if at == :error

    scene(there, 8) { there.send("polyphon", 0) }
  end

  def accepting(server, &visit) = scene(server, true, -> { visit.(server) }) { !closing(server.accept).nil? }

  def visit(port) = closing(TCPSocket.new("127.0.0.1", port))

  def socket = closing(Socket.new(:INET, :STREAM)).tap { |it| it.bind(Addrinfo.tcp("127.0.0.1", 0)); it.listen(64) }

  def port_of(socket) = socket.local_address.ip_port

  def deaf = closing(Socket.new(:INET, :STREAM)).then { |io| scene(io, Errno::EINVAL) { io.accept } }

  def tcp_client(at)
    server = listen
    port = server.addr[1]
    return scene(nil, true) { !visit(port).nil? } unless at == :error

    server.close
    scene(nil, Errno::ECONNREFUSED) { visit(port) }
  end

  def unix_server
    path = File.join(Dir.tmpdir, "polyphony-#{Process.pid}-#{random.rand(1 << 60)}")
    closing(UNIXServer.new(path)).tap { (@paths ||= []) << path }
  end

  def unix_client(at)
    server = unix_server
    path = server.path
    server.close if at == :error
    scene(nil, at == :error ? Errno::ECONNREFUSED : true) { !closing(UNIXSocket.new(path)).nil? }
  end

  def waiting(at)
    return scene(nil, Errno::ECHILD) { Process.wait(1) } if at == :error

    reader, writer = pipe
    pid = spawn("read line; exit 7", in: reader)
    reader.close
    scene(nil, 7, -> { writer.close }) { Process.wait(pid) && $?.exitstatus }
  end

  # The columns.
  %w[whole short end error].each do |situation|
    define_method(situation) do |name|
      early = row(name, situation.to_sym)
      early.act.call
      expect(ended(early)).to eq early.result

      late = row(name, situation.to_sym)
      fiber = begun(late)
      late.act.call
      expect(fiber.await).to eq late.result
    end
  end

  def cancelled(name)
    it = row(name, :whole)
    fiber = begun(it)
    fiber.stop
    expect(fiber.await).to be_nil
    it.act.call
    expect(ended(it)).to eq it.result
  end

  def timed_out(name)
    it = row(name, :whole)
    expect(move_on_after(0.002, with_value: :late) { it.call.call }).to eq :late
    it.act.call
    expect(ended(it)).to eq it.result
  end

  def closed(name)
    it = row(name, :whole)
    fiber = begun(it)
    it.io.close
    expect(fiber.await).to eq IOError
  end

  def cancelled_or_done(name)
    it = row(name, :whole)
    fiber = spin { ended(it) }
    snooze
    fiber.stop
    expect(fiber.await).to eq(nil).or eq(it.result)
  end

  def timed_out_or_done(name)
    it = row(name, :whole)
    expect(move_on_after(0.000_1, with_value: :late) { ended(it) }).to eq(:late).or eq(it.result)
  end

  # More of them than a queue holds; every other one is stopped.
  def full(name)
    all = Array.new(24) { row(name, :whole).then { |it| [it, begun(it)] } }
    all.each_with_index { |(it, fiber), number| number.odd? ? fiber.stop : it.act.call }
    all.each_with_index do |(it, fiber), number|
      expect(fiber.await).to number.odd? ? eq(nil).or(eq(it.result)) : eq(it.result)
      next unless number.odd? && name == "Process.wait"

      it.act.call # or the child would be left behind
      ended(it)
    end
  end

  def begun(scene)
    spin { ended(scene) }.tap { 3.times { snooze } }
  end

  def ended(scene)
    scene.call.call
  rescue StandardError => e
    e.class
  end

  after { @paths&.each { |path| File.unlink(path) } }

  { "the ring" => nil, "a ring of one entry" => 1 }.each do |ring, entries|
    GRID.each do |name, columns|
      columns.each do |column|
        it "#{name}, #{column.tr("_", " ")}, on #{ring}" do
          Thread.new do
            Thread.current.report_on_exception = false
            Polyphony.scheduler!(entries: entries)
            public_send(column, name)
          end.value
        end
      end
    end
  end
end
