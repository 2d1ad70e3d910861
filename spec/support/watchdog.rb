# frozen_string_literal: true

# Ends the process, with a dump, when an example takes too long.
#
# A stock thread looks at the clock: it works as long as somebody lets go of the GVL.
module Watchdog
  LIMIT = Integer(ENV.fetch("WATCHDOG", "30"))

  @example = nil
  @deadline = nil

  class << self
    def over(example)
      @thread ||= start
      @deadline = now + (example.metadata[:limit] || LIMIT)
      @example = example
      yield
    ensure
      @example = nil
    end

    # The watchdog's thread, which is not left over by anybody.
    attr_reader :thread

    private

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    def start
      Thread.new do
        loop do
          sleep 0.25
          give_up(@example) if @example && now > @deadline
        end
      end
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
