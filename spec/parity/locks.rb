# frozen_string_literal: true

# Sequences of calls on queues and locks, by several who wait for one another.
#
# Each step is told to one actor; when every actor has either answered or waits, what came of it is written down,
# with the state of all that they share. In stock Ruby an actor is a thread, with the gem a fiber; in one sequence
# of three some are threads there, too.
class Locks
  ACTORS = 3
  CALLS = [
    "queue.push(NUMBER)", "queue << NUMBER", "queue.enq(nil)", "queue.pop", "queue.shift", "queue.deq", "queue.pop(true)", "queue.shift(false)", "queue.close", "queue.clear", "queue.empty?", "queue.length", "queue.closed?", "queue.num_waiting", "queue.pop(1, 2)", "queue.push",
    "sized.push(NUMBER)", "sized << NUMBER", "sized.push(NUMBER, true)", "sized.enq(NUMBER, false)", "sized.pop", "sized.shift", "sized.deq(true)", "sized.max", "sized.max = SMALL", "sized.max = 0", "sized.clear", "sized.close", "sized.num_waiting", "sized.size", "sized.push", "sized.empty?", "sized.closed?", "sized.length", "sized.max = 3", "sized.max = -1", "sized.max = nil", "sized.shift(true)", "sized.pop(false)", "sized.enq(nil)", "sized << sized.size", "sized.clear.equal?(sized)", "sized.push(NUMBER).equal?(sized)", "sized.close.equal?(sized)", "sized.push(NUMBER, false, 1)", "Array.new(3) { |n| sized.push(n) }.size", "Array.new(2) { sized.pop }", "sized.freeze", "Marshal.dump(sized)", "[sized.pop, sized.push(NUMBER).size]", "mutex.synchronize { sized.push(NUMBER); NUMBER }", "mutex.synchronize { sized.pop }",
    "mutex.lock", "mutex.unlock", "mutex.try_lock", "mutex.locked?", "mutex.owned?", "mutex.synchronize { NUMBER }", "mutex.synchronize { queue.pop }", "mutex.synchronize { raise \"mine\" }", "mutex.lock", "mutex.unlock", "mutex.sleep(0)", "mutex.synchronize",
    "mutex.synchronize { condition.wait(mutex); NUMBER }", "condition.wait(mutex)", "condition.signal", "condition.broadcast", "condition.signal", "mutex.synchronize { condition.signal }", "mutex.synchronize { condition.wait(mutex); condition.signal; NUMBER }", "mutex.synchronize { condition.wait(mutex) until sized.size > 1; sized.pop }", "mutex.synchronize { sized.push(NUMBER); condition.broadcast; NUMBER }", "mutex.synchronize { condition.wait(mutex, 0); NUMBER }", "condition.wait(mutex, 0)", "condition.wait", "condition.signal.equal?(condition)", "condition.broadcast.equal?(condition)", "Marshal.dump(condition)", "mutex.synchronize { condition.wait(mutex); raise \"woken\" }", "mutex.synchronize { condition.wait(mutex) } && mutex.owned?",
    "monitor.enter", "monitor.exit", "monitor.try_enter", "monitor.synchronize { NUMBER }", "monitor.synchronize { monitor.synchronize { queue.pop } }", "monitor.mon_owned?", "monitor.mon_locked?", "monitor.synchronize { monitored.wait; NUMBER }", "monitored.wait", "monitored.signal", "monitored.broadcast", "monitor.synchronize { monitored.signal }", "monitor.mon_try_enter",
    "Queue.new([1, 2]).size", "Queue.new(3)", "SizedQueue.new(0)", "SizedQueue.new", "Marshal.dump(queue)", "Thread.pass"
  ].freeze
  STATE = "[queue.size, queue.num_waiting, queue.closed?, sized.size, sized.num_waiting, sized.max, mutex.locked?, monitor.mon_locked?]"

  # Where one waits in a queue: for items, for those of the sized one, for room in it.
  LINES = [/\bqueue\.(pop|shift|deq)/, /\bsized\.(pop|shift|deq)/, /\bsized(\.push|\.enq| <<)/].freeze
  # Lets go of the mutex, and wants it again at once.
  AGAIN = /mutex\.sleep|wait\(mutex, 0\)/
  # What may wake several of a line in one step.
  WAKES_SEVERAL = /sized\.(clear|max =)|Array\.new/

  Shared = Struct.new(:queue, :sized, :mutex, :condition, :monitor, :monitored) do
    def self.make
      monitor = Monitor.new
      new(Thread::Queue.new, Thread::SizedQueue.new(2), Thread::Mutex.new, Thread::ConditionVariable.new, monitor, monitor.new_cond)
    end
  end

  # One who does as told, and says what came of it.
  class Actor
    attr_reader :busy, :answer, :source

    def initialize(shared, threaded)
      @shared = shared
      @threaded = threaded
      @told = Thread::Queue.new
      @runner = threaded ? Thread.new { live } : Mode.beside { live }
    end

    def threaded? = @threaded

    def tell(source)
      @busy = true
      @answer = nil
      @source = source
      @told.push(source)
    end

    def dismiss = @told.close

    # A lock that is let go wakes a thread before Ruby says so; then the kernel knows. It knows, too, where a thread
    # waits for the events of its own scheduler.
    def waits?
      thread = @runner.native_thread_id or return # which has not begun
      call = File.read("/proc/self/task/#{thread}/syscall")[/\A\S+/]
      EVENTS.include?(call) || @runner.stop? && call != "running"
    rescue Errno::ENOENT, Errno::ESRCH
      nil # which has just ended
    end

    # epoll_wait and its kin, and io_uring_enter, of x86_64 and of aarch64.
    EVENTS = (RbConfig::CONFIG["host_cpu"] == "aarch64" ? %w[22 441 426] : %w[232 281 441 426]).freeze

    def done? = !@runner.alive?

    private

    def live
      while (source = @told.pop)
        @answer = Transcript.answer { @shared.instance_eval(source) }
        @busy = false
      end
      let_go
    end

    # What an actor still has when it ends would be the others' for ever.
    def let_go
      @shared.mutex.unlock if @shared.mutex.owned?
      @shared.monitor.exit while @shared.monitor.mon_owned?
    end
  end

  def initialize(seed, kept)
    @random = Random.new(seed)
    @steps = Array.new(@random.rand(4..20)) { |number| [@random.rand(ACTORS), source(number)] }
    @threaded = Array.new(ACTORS) { (seed % 3).zero? && @random.rand(2).zero? }
    @steps = kept.map { |number| @steps.fetch(number) } if kept
  end

  def run(transcript)
    @shared = Shared.make
    @actors = @threaded.map { |threaded| Actor.new(@shared, threaded) }
    settle
    @steps.each { |number, source| play(transcript, number, source) }
    dismiss
    transcript.say("end", "left: #{@actors.reject(&:done?).map { |actor| @actors.index(actor) }}")
  end

  private

  # Gives everybody what they wait for; whoever ends lets go of what they hold.
  def dismiss
    [*@actors, @shared.queue, @shared.sized].each { |each| each.respond_to?(:dismiss) ? each.dismiss : each.close }
    20.times do
      break if @actors.all?(&:done?)

      @shared.condition.broadcast
      @shared.monitor.synchronize { @shared.monitored.broadcast } if @shared.monitor.try_enter
      @shared.monitor.exit if @shared.monitor.mon_owned?
      settle
    end
  end

  def source(number)
    CALLS[@random.rand(CALLS.size)].gsub("NUMBER", (10 + number).to_s).gsub("SMALL", @random.rand(1..3).to_s)
  end

  # Whom a call still holds is told nothing.
  def play(transcript, number, source)
    return transcript.say("#{number}: #{source}", "busy") if @actors[number].busy
    return transcript.say("#{number}: #{source}", "nobody's promise") if races?(number, source) || scrambles?(source)

    transcript.doing = source
    before = @actors.select(&:busy)
    @actors[number].tell(source)
    settle
    came = (before | [@actors[number]]).sort_by { |actor| @actors.index(actor) }
    came = came.map { |actor| "#{@actors.index(actor)} #{actor.busy ? "waits" : actor.answer}" }
    transcript.say("#{number}: #{source}", "#{came.join(" & ")} | #{Transcript.answer { @shared.instance_eval(STATE) }}")
  end

  # Of a thread and a fiber who want the same, whoever is faster has it first; and of two who want the mutex again.
  def races?(number, source)
    busy = @actors.select(&:busy)
    others = busy.select { |actor| actor.threaded? != @actors[number].threaded? }.map(&:source)
    LINES.any? { |line| source.match?(line) && others.grep(line).any? } ||
      source.match?(AGAIN) && (others.grep(/mutex/).any? || busy.any? { |actor| actor.source.match?(AGAIN) })
  end

  # Threads that are woken together run in any order, in stock Ruby too.
  def scrambles?(source)
    source.match?(WAKES_SEVERAL) && LINES.any? { |line| @actors.count { |actor| actor.busy && actor.source.match?(line) } > 1 }
  end

  # Until everybody waits.
  def settle
    case Mode::NAME
    when "stock" then settle_threads(@actors)
    when "bare" then settle_fibers { sleep 0 }
    else settle_fibers { snooze }
    end
  end

  def settle_fibers(&turn)
    40.times(&turn)
    threads = @actors.select(&:threaded?)
    settle_threads(threads) { 40.times(&turn) } if threads.any?
  end

  # Nobody runs, and once more after all could have had the lock of the interpreter.
  def settle_threads(threads)
    looks = 0
    while looks < 2
      sleep 0.0002
      yield if block_given?
      looks = threads.all? { |actor| actor.done? || actor.waits? } ? looks + 1 : 0
    end
  end
end
