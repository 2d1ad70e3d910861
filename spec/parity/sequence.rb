# frozen_string_literal: true

# Runs seeded call sequences and prints what came of every call: a transcript that is equal wherever Ruby
# behaves as Ruby does. The same program is run in stock Ruby and where the gem is loaded.
#
#     ruby -W0 spec/parity/sequence.rb MODE FAMILY FIRST COUNT [STEPS]
#
# MODE is `stock`, `main` (the drop-in, in the main fiber), `spun` (in a fiber that is spun) or `bare` (the
# standard scheduler interface alone). FAMILY names one of FAMILIES. STEPS, as in `0,3,4`, keeps only those of a
# sequence, which is how a difference is made short: nothing that a step does depends on those left out.
require "io/wait"
require "monitor"
require "socket"
require "stringio"
require "timeout"
require "tmpdir"
require_relative "transcript"
require_relative "commands"
require_relative "compression"
require_relative "connections"
require_relative "locks"
require_relative "streams"

# The words of each mode: how the sequences are run, and how something runs beside them.
module Mode
  NAMES = %w[stock main spun bare].freeze
  NAME = NAMES.fetch(NAMES.index(ARGV.shift) || abort("which mode? #{NAMES.join(", ")}"))

  case NAME
  when "main", "spun" then require "polyphony"
  when "bare" then require "polyphony/bare"
  end

  module_function

  def stock? = NAME == "stock"

  def run(&block)
    case NAME
    when "stock" then yield
    when "main" then Polyphony.scheduler! && yield
    when "spun" then spin(&block).await
    when "bare" then scheduled(&block)
    end
  end

  # An actor beside the others: a thread in stock Ruby, else a fiber.
  def beside(&block)
    case NAME
    when "stock" then Thread.new(&block)
    when "bare" then Fiber.schedule(&block)
    else spin(&block)
    end
  end

  def scheduled
    failed = nil
    Fiber.set_scheduler(Polyphony::FiberScheduler.new)
    Fiber.schedule do
      yield
    rescue Exception => e # rubocop:disable Lint/RescueException
      failed = e
    end
    Fiber.scheduler.run
    raise failed if failed
  end
end

FAMILIES = { "streams" => Streams, "locks" => Locks, "commands" => Commands, "connections" => Connections, "compression" => Compression }.freeze

family = FAMILIES.fetch(ARGV.shift)
first = Integer(ARGV.shift)
count = Integer(ARGV.shift)
kept = ARGV.shift&.split(",")&.map { |number| Integer(number) }

transcript = Transcript.new($stdout.dup)
$stdin.reopen(File::NULL)
$stdout.reopen(File::NULL)
Mode.run do
  (first...(first + count)).each { |seed| transcript.sequence(seed) { family.new(seed, kept).run(transcript) } }
  transcript.finish # and not after the fibers that a sequence has left in a deadlock, as stock Ruby leaves threads
end
