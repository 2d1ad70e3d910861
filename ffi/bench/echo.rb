# frozen_string_literal: true

# The echo rows of bin/bench: the C example's CPU time for a request of 64 bytes, kernel included, against a bare
# io_uring loop that does the same with its operations, and against other runtimes' servers. One load program
# (core/examples/load.rs) drives them all; it reads the server's CPU clock. Server and load have a core each.
#
# The servers are processes of their own, in turns; where the goal is near 1, or the two near each other, there are more
# turns. With two workers the figure is the CPU time of whichever thread has worked most, and server and load share all
# cores. Two rows count system calls, with strace.
#
# core/benches/peers/build builds the others' servers; the row of one that is not there says so.
#
# usage: echo.rb [PATTERN]
require "tempfile"
require "fileutils"
require_relative "../../gem/bench/pairs"

ROOT = File.expand_path("../..", __dir__)
TARGET = ENV.fetch("CARGO_TARGET_DIR", "#{ROOT}/target")
HERE = "#{ROOT}/target/bench/echo"
LOAD = "#{TARGET}/release/examples/load"
# How many requests a run has, by the number of connections: a few tenths of a second.
REQUESTS = { 1 => 5_000, 64 => 30_000, 1_000 => 30_000 }.freeze
PEERS = {
  "compio" => %w[compio], "glommio" => %w[glommio], "Go" => %w[go], "libuv" => %w[libuv], "may" => %w[may],
  "monoio" => %w[monoio], "smol" => %w[smol], "tokio" => %w[tokio current], "tokio, multi-thread" => %w[tokio multi],
  "tokio-uring" => %w[tokio_uring]
}.freeze
# How many pairs are allowed: for a look, not for a measurement.
MOST = ENV.fetch("POLYPHONY_BENCH_PAIRS", 21).to_i
BARE = "a bare io_uring loop"
# Our server: kept on one core it has one worker; else one a core.
ONE, TWO = :ours, :ours_on_two

def pinned(core, *command)
  return command unless system("command -v taskset >/dev/null") && File.exist?("/sys/devices/system/cpu/cpu1")

  ["taskset", "-c", core.to_s, *command]
end

def build
  FileUtils.mkdir_p(HERE)
  run("cargo", "build", "--quiet", "--release", "--locked", "-p", "polyphony-core", "--example", "load")
  run("core/benches/peers/build", "#{TARGET}/peers")
  run("bin/install-c", "#{HERE}/prefix")
  flags = IO.popen({ "PKG_CONFIG_PATH" => "#{HERE}/prefix/lib/pkgconfig" }, %w[pkg-config --cflags --libs polyphony], &:read)
  run("cc", "-O2", "-o", "#{HERE}/ours", "ffi/examples/echo_server.c", *flags.split, "-Wl,-rpath,#{HERE}/prefix/lib")
end

def run(*command) = system(*command, chdir: ROOT, exception: true)

def program(who)
  return ["#{HERE}/ours", "0"] if [ONE, TWO].include?(who)

  name, *flavour = who == BARE ? ["bare_ring"] : PEERS.fetch(who)
  ["#{TARGET}/peers/#{name}", *flavour, "echo"]
end

# A server that runs, and its output.
class Server
  # Starts it, hands it to the block, and ends it.
  def self.during(command, core: 0)
    server = new(core ? pinned(core, *command) : command)
    yield server
  ensure
    server&.stop
  end

  attr_reader :pid

  def initialize(command)
    @log = Tempfile.new("server")
    @pid = spawn(*command, out: @log.path, err: @log.path)
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
def drive(protocol, port, pid, connections, requests, *options, core: 1)
  command = [LOAD, protocol, port, "--connections", connections, "--requests", requests, "--server", pid, *options]
  command = command.map(&:to_s)
  told = IO.popen(core ? pinned(core, *command) : command, err: File::NULL, &:read)
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

# CPU nanoseconds for a request of 64 connections, of the server's thread that has worked most.
def busiest(who)
  core = who == TWO ? nil : 0
  Server.during(program(who), core: core) do |server|
    port = server.port
    drive("echo", port, server.pid, 64, REQUESTS.fetch(64), "--size", 64, core: core && 1)
    times = Dir["/proc/#{server.pid}/task/*/schedstat"].map { |file| File.read(file).to_i }
    times.max.fdiv(REQUESTS.fetch(64))
  end
end

# Few pairs, and more where they are close to each other.
def compare(peer, connections, few: [5, MOST].min, most: [15, MOST].min)
  measure = ->(who) { cost(who == :ours ? ONE : peer, connections) }
  pairs = Pairs.take(few, &measure)
  pairs.ratio.between?(1 / 1.2, 1.2) && most > few ? pairs + Pairs.take(most - few, &measure) : pairs
end

def echo_row(name, peer, connections, goal)
  return puts(["row", name, "ns", "", "not measured: it is not there", "", "", "", goal].join("\t")) unless File.executable?(program(peer).first)

  puts compare(peer, connections).row(name, "ns", peer, goal)
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
    [[name, -> { echo_row(name, BARE, connections, 1.03) }],
     *PEERS.keys.map { |peer| ["#{name} (#{peer})", -> { echo_row("#{name} (#{peer})", peer, connections, 1) }] }]
  end,
  ["TCP echo from C, 64 connections, on two workers", lambda do
    pairs = Pairs.take([9, MOST].min) { |who| busiest(who == :ours ? TWO : ONE) }
    puts pairs.row("TCP echo from C, 64 connections, on two workers", "ns", "on one", 0.667)
  end],
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
