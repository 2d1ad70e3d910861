# frozen_string_literal: true

# What came of every call, a line a step, in words that do not depend on the process it ran in.
class Transcript
  # Seconds after which a sequence is said to hang.
  PATIENCE = 8
  # What differs from run to run: addresses, processes, ports, places.
  CHANGING = %r{0x\h{6,}|#{Regexp.escape(Dir.tmpdir)}/[\w./-]+|\bpid \d+|\bport \d{4,5}\b|fd:? ?\d+|(?<=:|, )\d{4,5}\b}.freeze

  def initialize(out)
    @out = out
    @lines = []
    @watch = Thread.new { watch }
  end

  # Everything that a block says, under the number of its sequence.
  def sequence(seed)
    @seed = seed
    @began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    yield
    tell
    @lines.clear
  rescue Exception => e # rubocop:disable Lint/RescueException
    say("harness", "#{e.class}: #{e.message} #{e.backtrace.first(4)}")
    raise
  end

  def finish
    @began = nil
    @lines << "done\n"
    tell
    exit!(0)
  end

  def say(step, answer) = @lines << "#{@seed}\t#{step}\t#{answer.gsub(CHANGING, "…")}\n"

  # @return [String] what the block returned, or raised
  def self.answer
    "=> #{word(yield)}"
  rescue Exception => e # rubocop:disable Lint/RescueException
    "!! #{e.class}: #{e.message.b.inspect}"
  end

  # @return [String] a value as every process writes it
  def self.word(value)
    case value
    when String then "#{value.size > 200 ? "#{value.b[0, 60].inspect}…#{value.bytesize}/#{value.hash_of}" : value.inspect} #{value.encoding}"
    when Array then "[#{value.map { |each| word(each) }.join(", ")}]"
    when Hash then "{#{value.map { |key, each| "#{word(key)} => #{word(each)}" }.join(", ")}}"
    when Numeric, Symbol, nil, true, false, Encoding, Range, Module then value.inspect
    when Process::Status then value.inspect.sub(/pid \d+/, "")
    when Exception then "#{value.class}: #{value.message}"
    else value.class.name.to_s
    end
  end

  private

  def tell
    text = @lines.join
    text = text.byteslice(@out.syswrite(text)..) until text.empty?
  end

  def watch
    loop do
      sleep 0.5
      began = @began
      next if began.nil? || Process.clock_gettime(Process::CLOCK_MONOTONIC) - began < PATIENCE

      say("hangs", "#{@doing} #{Thread.main.backtrace&.first(6)&.join(" ") if ENV["PARITY_TRACE"]}")
      tell
      exit!(1)
    end
  end

  public

  # Names the step that runs, for the report of a hang.
  attr_writer :doing
end

# Long strings are told apart by their sum.
class String
  def hash_of = sum(32)
end
