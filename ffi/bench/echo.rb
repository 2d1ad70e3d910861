# frozen_string_literal: true

# The echo rows of bin/bench: the C example's CPU time for a request of 64 bytes, kernel included, against a bare
# io_uring loop that does the same with its operations, and against other runtimes' servers. One load program
# (core/examples/load.rs) drives them all; it reads the server's CPU clock. Server and load have a core each.
#
# The servers are processes of their own, in turns; where the goal is near 1 there are more turns. Two rows count
# system calls, with strace.
#
# usage: echo.rb [PATTERN]
require "tempfile"
require "fileutils"
require_relative "../../gem/bench/pairs"

ROOT = File.expand_path("../..", __dir__)
TARGET = ENV.fetch("CARGO_TARGET_DIR", "#{ROOT}/target")
HERE = "#{ROOT}/target/bench/echo"
LOAD = "#{TARGET}/release/examples/load"
# How many requests a run has, by the number of connections: half a second to two.
REQUESTS = { 1 => 10_000, 64 => 100_000, 1_000 => 100_000 }.freeze
PEERS = { tokio: "tokio", monoio: "monoio", may: "may" }.freeze

def pinned(core, *command)
  return command unless system("command -v taskset >/dev/null") && File.exist?("/sys/devices/system/cpu/cpu1")

  ["taskset", "-c", core.to_s, *command]
end

def build
  FileUtils.mkdir_p(HERE)
  run("cargo", "build", "--quiet", "--release", "--locked", "-p", "polyphony-core", "--example", "load")
  run("cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", "core/benches/peers/Cargo.toml",
      "--target-dir", "#{TARGET}/peers", "--bins")
  run("bin/install-c", "#{HERE}/prefix")
  flags = IO.popen({ "PKG_CONFIG_PATH" => "#{HERE}/prefix/lib/pkgconfig" }, %w[pkg-config --cflags --libs polyphony], &:read)
  run("cc", "-O2", "-o", "#{HERE}/ours", "ffi/examples/echo_server.c", *flags.split, "-Wl,-rpath,#{HERE}/prefix/lib")
end

def run(*command) = system(*command, chdir: ROOT, exception: true)

def program(who) = who == :ours ? ["#{HERE}/ours", "0"] : ["#{TARGET}/peers/release/echo_#{who}"]

# A server that runs, and its output.
class Server
  # Starts it, hands it to the block, and ends it.
  def self.during(command)
    server = new(command)
    yield server
  ensure
    server&.stop
  end

  attr_reader :pid

  def initialize(command)
    @log = Tempfile.new("server")
    @pid = spawn(*pinned(0, *command), out: @log.path, err: @log.path)
  end

  # What the first line of its output says, once it is there.
  def port
    500.times do
      return $~[1] if log =~ /^listening on .*[ :](\d+)$/
      break if Process.wait(pid, Process::WNOHANG)

      sleep 0.02
    end
    abort "echo: the server did not start:\n#{log}"
  end

  def stop
    return unless @pid

    Process.kill(:TERM, @pid)
    Process.wait(@pid)
    @pid = nil
  end

  def log = File.read(@log.path)
end

# What the load program says of so many requests, by the name of the row.
def drive(protocol, port, pid, connections, requests, *options)
  command = [LOAD, protocol, port, "--connections", connections, "--requests", requests, "--server", pid, *options]
  told = IO.popen(pinned(1, *command.map(&:to_s)), err: File::NULL, &:read)
  $?.success? or abort "echo: the load program failed:\n#{told}"
  told.lines.to_h { |line| line.chomp.split("\t", 2) }
end

# CPU nanoseconds of a server for a request.
def cost(who, connections)
  Server.during(program(who)) do |server|
    told = drive("echo", server.port, server.pid, connections, REQUESTS.fetch(connections), "--size", 64)
    told.fetch("server's CPU a request").to_f
  end
end

def compare(peer, connections, count)
  Pairs.take(count) { |who| cost(who == :ours ? :ours : peer, connections) }
end

# How often a server made each system call for `requests` requests of 64 connections; nil where strace may not look.
def calls(command, protocol, requests, *options)
  counts = "#{HERE}/calls"
  log = Server.during(command) do |server|
    port = server.port
    tracer = trace(server.pid, counts) or return
    drive(protocol, port, server.pid, 64, requests, *options)
    Process.kill(:TERM, tracer)
    Process.wait(tracer)
    server.stop
    server.log
  end
  table = File.foreach(counts).filter_map { |line| $~.captures if line =~ /\A\s*[\d.]+\s+\S+\s+\S+\s+(\d+)\s.*?(\w+)\s*\z/ }
  [table.to_h { |count, name| [name, count.to_i] }.except("total"), log]
end

def trace(pid, counts)
  tracer = spawn("strace", "-c", "-f", "-p", pid.to_s, "-o", counts, err: File::NULL)
  100.times do
    return tracer if File.read("/proc/#{pid}/status") =~ /^TracerPid:\s*[1-9]/
    return if Process.wait(tracer, Process::WNOHANG)

    sleep 0.02
  end
rescue Errno::ENOENT
  nil
end

def count_row(name, unit, count, reference, per, goal)
  puts ["row", name, unit, count, reference, per, count.fdiv(per).round(3), "", goal].join("\t")
  $stdout.flush
end

ROWS = [
  *REQUESTS.keys.flat_map do |connections|
    name = "TCP echo from C, #{connections} connection#{"s" if connections > 1}"
    [[name, -> { puts compare(:bare_ring, connections, 21).row(name, "ns", "a bare io_uring loop", 1.05) }],
     *PEERS.map { |peer, who| ["#{name}, #{who}", -> { puts compare(peer, connections, 5).row("#{name} (#{who})", "ns", who, 1) }] }]
  end,
  ["turns from C", lambda do
    counted, log = calls(program(:ours), "echo", 50_000, "--size", 64)
    counted and count_row("io_uring_enter a turn, C", "calls", counted["io_uring_enter"], "turns of the loop", log[/ turns (\d+)/, 1].to_i, 1.05)
  end],
  ["calls from Ruby", lambda do
    command = [RbConfig.ruby, "-W0", "-I#{ROOT}/gem/lib", "#{ROOT}/gem/examples/http_server.rb", "0"]
    counted, = calls(command, "http", 20_000)
    counted and count_row("system calls a request, Ruby", "calls", counted.values.sum, "requests over HTTP, 64 connections", 20_000, 0.2)
  end]
].freeze

build
pattern = Regexp.new(ARGV.fetch(0, "."))
$stdout.sync = true
ROWS.each { |name, row| row.() if pattern.match?(name) }
