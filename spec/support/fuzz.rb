# frozen_string_literal: true

# Throws nonsense at every public method of the gem's, and of Ruby's classes where the gem changes it.
#
#     ruby -W0 -Igem/lib spec/support/fuzz.rb SEED CALLS LOG
#
# Each call is written to the log before it is made. What is wrong at the end is printed, or else "well"; then
# the process waits for the signal that ends it.
require "polyphony"
require "polyphony/adapters/readline"
require_relative "leftovers"
require_relative "nonsense"

# One seed's run.
class Fuzz
  # What is not called, and why.
  EXCLUDED = {
    "fork" => "the child would go on with what only the parent must do", "daemon" => "as fork", "_fork" => "as fork",
    "exit!" => "ends the process, as it should", "abort" => "as exit!",
    "kill_process" => "kills whatever process has that number", "watch" => "leaves commands running for as long as it waits",
    "watch_process" => "as watch", "spawn" => "as watch", "system" => "as watch", "`" => "as watch", "popen" => "as watch", "orig_popen" => "as watch", "exec" => "becomes another program",
    "trap" => "SIGTERM is to end the process", "orig_trap" => "as trap",
    "close" => "a scheduler's end is its thread's; a number is somebody's descriptor", "backend_close" => "as close",
    "backend_verify_blocking_mode" => "a number is somebody's descriptor",
    "parent=" => "moves no child: whoever had it keeps it", "scheduler.shield" => "unshield is to follow",
    "orig_sleep" => "holds the thread, as it should", "orig_gets" => "as orig_sleep", "orig_join" => "as orig_sleep",
    "orig_system" => "as orig_sleep", "orig_backtick" => "as orig_sleep",
    "__disable_sanitized_backtrace__=" => "a switch for the whole process", "setup_main_fiber" => "the program has one",
    "install" => "done", "setup_raw" => "has no parent, so nobody ends it", "finish" => "the process ends", "let_go" => "for what is being closed"
  }.freeze

  # Scheduling from inside: these trust their caller, which is the gem.
  PRIVATE = %w[adopt adopt_raw enter leave block yield_to alarm rearm disarm unshield signalled trace_hook= idle_hook=
               unblock detain expose interject unschedule start kernel_sleep fiber yielded? wake_sleeper exactly].freeze
  # What a call may end with, and what may come to the main fiber: anything but a signal.
  EXPECTED = [Polyphony::BaseException, StandardError, SystemExit, UncaughtThrowError].freeze
  # What is nobody's to call but the gem's.
  INSIDE = /\A(#<Class:)?Polyphony::(Native|Signals|Origin|Gathering|Elsewhere|Selecting|Report|Supervision::Monitoring|FiberScheduler::F|Extensions::(OpenSSL::Handshakes|ConditionVariable::Pause|Ractor))|Arrival\z|#<Class:Polyphony::(Extensions|Scheduler)/.freeze
  RING = /anon_inode:\[(io_uring|eventfd|eventpoll)\]/.freeze
  MOST_RINGS = 12
  private_constant :PRIVATE, :EXPECTED, :RING, :MOST_RINGS, :INSIDE

  def initialize(seed, calls, log)
    @random = Random.new(seed)
    @calls = calls
    @log = log
    @wrong = []
  end

  # @return [Array<String>] methods that would be called if there were something that has them
  def missed
    called = targets.map { |target| target[2] }
    owners = ObjectSpace.each_object(Module).select { |owner| ours?(owner) && !owner.inspect.match?(INSIDE) }
    owners.flat_map { |owner| owner.public_instance_methods(false).map { |name| [owner, name] } }
          .reject { |_, name| called.include?(name) || left_out?("scheduler", name.to_s) }
          .map { |owner, name| "#{owner}##{name}" }.sort
  end

  # @return [Array<String>] what is wrong
  def run
    Leftovers.warm_up
    @wrong.concat(missed.map { |method| "nothing has #{method}" })
    Fiber.current.shutdown_all_children
    GC.start
    @before = Leftovers.send(:present)
    @calls.times { call(*targets[@random.rand(targets.size)]) }
    look_at_rings
    @wrong
  end

  private

  # Every receiver with every method of it that is ours.
  def targets
    @targets ||= begin
      made = Nonsense::RECEIVERS.flat_map { |label, make| of(label, make) }
      modules = (ours_by_name + Nonsense::CLASSES).flat_map { |owner| of("#{owner}.", -> { owner }) }
      unborn = ours_by_name.grep(Class).select { |owner| allocates?(owner) }
      unborn = unborn.flat_map { |owner| of("#{owner}.allocate", -> { owner.allocate }) }
      Nonsense.release
      (made + modules + unborn).sort_by { |label, _, name, _| [label, name.to_s] }
    end
  end

  def of(label, make)
    sample = make.call
    names(label, sample).map { |name| [label, make, name, sample.singleton_class.instance_method(name).arity] }
  end

  def names(label, sample)
    singleton = sample.singleton_class
    names = singleton.public_instance_methods + (label == "Object" ? singleton.private_instance_methods : [])
    names.select { |name| ours?(singleton.instance_method(name).owner) || name.start_with?("orig_") }
         .reject { |name| left_out?(label, name.to_s) }
  end

  def ours?(owner) = owner.inspect.include?("Polyphony")

  def left_out?(label, name)
    return true if name.start_with?("__") || EXCLUDED.key?("#{label}.#{name}")

    inside = label.match?(/scheduler\z|Polyphony\.\z/)
    name == "close" || PRIVATE.include?(name) ? inside : EXCLUDED.key?(name)
  end

  def ours_by_name
    @ours_by_name ||= ObjectSpace.each_object(Module).select { |owner| owner.name&.start_with?("Polyphony") }
                                 .reject { |owner| owner.name.match?(/Extensions|Native|Scheduler\z|Backend\z|Signals|Origin|Gathering|Elsewhere|Selecting|Report/) }.sort_by(&:name)
  end

  def allocates?(owner)
    owner.allocate
    true
  rescue TypeError
    false
  end

  # As many as the method takes, mostly: of others it would only say how many those are.
  def count_for(arity)
    return @random.rand(0..4) if @random.rand < 0.1

    arity.negative? ? -arity - 1 + @random.rand(0..2) : arity
  end

  def call(label, make, name, arity)
    arguments = Array.new(count_for(arity)) { pick(Nonsense::VALUES) }
    keywords = @random.rand < 0.2 ? { Nonsense::KEYWORDS.sample(random: @random) => pick(Nonsense::VALUES) } : {}
    block = pick(Nonsense::BLOCKS)
    @made = "#{label}.#{name}(#{describe(arguments, keywords)}) #{block.first}"
    @log.syswrite "#{@made}\n"
    make_call(make, name, arguments, keywords, block.last)
  rescue *EXPECTED => e
    @log.syswrite "  in the main fiber: #{e.class}\n"
  ensure
    clean_up
    look_around
  end

  # What was called must leave nothing behind.
  def look_around
    left = Leftovers.send(:settle, @before)
    # Also where it is only a ring: else every later call would be waited for as long as this one.
    @before = Leftovers.send(:present) unless left.empty?
    left[:descriptors]&.reject! { |_, target| target.match?(RING) }
    left.delete(:descriptors) if left[:descriptors]&.empty?
    @wrong << "#{@made} left behind #{left}" unless left.empty?
  end

  # Rings of threads that ended by an exception go when the collector comes, which may be late.
  def look_at_rings
    GC.start
    rings = Dir.children("/proc/self/fd").count { |fd| Leftovers.send(:target, fd)&.match?(RING) }
    @wrong << "#{rings} descriptors of rings were left behind" if rings > MOST_RINGS
  end

  def pick(things) = things.to_a.sample(random: @random)

  def describe(arguments, keywords)
    (arguments.map(&:first) + keywords.map { |key, value| "#{key}: #{value.first}" }).join(", ")
  end

  # In a fiber of its own, for so long that it has waited for whatever it waits for.
  def make_call(make, name, arguments, keywords, block)
    fiber = spin do
      receiver = make.call
      arguments = arguments.map { |_, value| value.call }
      keywords = keywords.transform_values { |_, value| value.call }
      move_on_after(0.002) { dispose(receiver.__send__(name, *arguments, **keywords, &block)) }
    rescue SignalException
      raise
    rescue Exception => e # rubocop:disable Lint/RescueException
      look_at(e)
    end
    fiber.await
  end

  # An error of ours that says something about our insides, not about what was asked for.
  def look_at(error)
    @wrong << "#{error.class}: #{error.message}" if error.class.name == "fatal"
    return unless ENV["FUZZ_NAMES"] && error.is_a?(NameError)

    line = error.backtrace_locations&.first.to_s
    $stderr.puts "#{line[/gem\/lib\/.*/]} #{error.message[0, 100].dump}" if line.include?("/gem/lib/")
  end

  def dispose(result)
    [*result].each { |thing| thing.close if IO === thing && !thing.closed? } if Array === result || IO === result
    Nonsense::THREADS << result if Thread === result && result != Thread.current
  end

  def clean_up
    backend = Thread.current.backend
    backend.trace_proc = backend.idle_proc = backend.idle_gc_period = nil
    Fiber.current.shutdown_all_children
    Nonsense.release
  rescue *EXPECTED => e
    @log.syswrite "  in the end: #{e.class}: #{e.message}\n"
    retry
  end
end

report = $stdout.dup
$stdout.reopen(File::NULL)
seed, calls, log = ARGV.shift(3)
wrong = Fuzz.new(Integer(seed), Integer(calls), File.open(log, "a")).run
report.puts(wrong.empty? ? "well" : wrong)
report.close
3.times { spin { sleep } }
answer = sleep
$stderr.puts "nobody ended the process: sleep returned #{answer.inspect}"
