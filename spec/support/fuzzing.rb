# frozen_string_literal: true

require "io/wait"
require "tmpdir"
require_relative "child"

# Runs the program that throws nonsense, in a process of its own, and ends it by a signal.
module Fuzzing
  # How many seeds are tried, and how many calls are made with each.
  SEEDS = Integer(ENV.fetch("FUZZ_SEEDS", "6"))
  CALLS = Integer(ENV.fetch("FUZZ_CALLS", "500"))

  # Seconds for a seed, and for a process to hear a signal.
  LIMIT = Integer(ENV.fetch("FUZZ_LIMIT", "60"))
  PATIENCE = 10

  PROGRAM = File.expand_path("fuzz.rb", __dir__)

  # What a seed came to: nil where all is well, or what is to be known about it.
  Outcome = Struct.new(:said, :status, :complaints, :calls) do
    def failure
      return if said == "well" && status.termsig == Signal.list["TERM"] && !broken?

      "it said #{said.inspect}, and ended with #{status}\n#{complaints.lines.last(20).join}\nlast calls:\n#{calls.last(6).join}"
    end

    private

    # What a crash leaves on the screen, should the process have survived it.
    def broken? = complaints.match?(/panicked at|\[BUG\]/)
  end

  module_function

  # @param mode [Array<String>] further arguments of Ruby
  # @return [Outcome]
  def run(seed, calls: CALLS, mode: [])
    # In a thread that runs no fibers: what is tested here is the other process.
    Thread.new { Dir.mktmpdir { |directory| observe(seed, calls, mode, directory) } }.value
  end

  # Files with nonsensical names are made in a directory below that one.
  def observe(seed, calls, mode, directory)
    log, complaints, inside = %w[log complaints inside].map { |name| File.join(directory, name) }
    [log, complaints].each { |path| File.write(path, "") }
    Dir.mkdir(inside)
    reader, writer = IO.pipe
    pid = Process.spawn(*Child::RUBY.first(1), "-W0", "-I", Child::LIBRARY, *mode, PROGRAM, seed.to_s, calls.to_s, log,
                        in: File::NULL, out: writer, err: complaints, chdir: inside)
    Child.pids << pid
    writer.close
    said = reader.wait_readable(LIMIT) ? reader.read.chomp : "nothing in #{LIMIT} seconds"
    Outcome.new(said, ended(pid), File.read(complaints).scrub, File.readlines(log))
  ensure
    reader.close
  end

  # Asks the process to end, and makes it end where it does not: then the status tells.
  def ended(pid)
    Process.kill(:TERM, pid)
    watchdog = Thread.new { sleep(PATIENCE).then { Process.kill(:KILL, pid) } }
    Process.wait2(pid).last
  ensure
    watchdog&.kill&.join
    Child.pids.delete(pid)
  end
end
