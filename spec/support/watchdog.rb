# frozen_string_literal: true

# Ends the process, with a dump, when an example takes too long. Where it still computes it may take longer, for the
# machine may be busy with others.
#
# A stock thread looks at the clock: it works as long as somebody lets go of the GVL.
module Watchdog
  LIMIT = Integer(ENV.fetch("WATCHDOG", "30"))

  # Seconds in which a process that computes nothing does not get on.
  REST = 5
  # What the watchdog itself does takes less of the processor, in seconds.
  WORK = 0.002

  @example = nil
  @began = @limit = @used = 0

  class << self
    def over(example)
      @thread ||= start
      @limit = example.metadata[:limit] || LIMIT
      @began = now
      @used = used
      @example = example
      yield
    ensure
      @example = nil
    end

    # The watchdog's thread, which is not left over by anybody.
    attr_reader :thread

    private

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    # What the process has used of the processor.
    def used = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)

    def start
      Thread.new do
        worked = now
        loop do
          before = used
          sleep 0.25
          worked = now if used - before > WORK
          give_up(@example) if @example && hangs?(now - @began, now - worked)
        end
      end
    end

    def hangs?(took, rested)
      took > @limit && (rested > REST || used - @used > @limit || took > 4 * @limit)
    end

    def give_up(example)
      $stderr.syswrite "\nHANGS: #{example.full_description} (#{example.location})\n"
      $stderr.syswrite "#{Polyphony.scheduler_of(Thread.main)&.stats}\n"
      (Thread.list - [Thread.current]).each { |thread| dump("thread #{thread.object_id}", thread.backtrace) }
      ObjectSpace.each_object(Fiber).select(&:alive?).first(40).each { |fiber| dump_fiber(fiber) }
      Child.pids.each { |pid| kill(pid) }
      exit!(70)
    end

    def dump_fiber(fiber)
      backtrace = fiber.backtrace
      dump("fiber #{fiber.tag} #{fiber.object_id}", backtrace) if backtrace&.any?
    rescue FiberError, NoMethodError
      nil
    end

    def dump(name, backtrace)
      $stderr.syswrite "#{name}\n  #{backtrace&.first(12)&.join("\n  ")}\n"
    end

    def kill(pid)
      Process.kill(:KILL, pid)
    rescue Errno::ESRCH
      nil
    end
  end
end
