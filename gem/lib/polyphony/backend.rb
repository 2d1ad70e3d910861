# frozen_string_literal: true

require_relative "bare"

module Polyphony
  # The original's names for what waits and schedules: methods of `Thread#backend`, and as `backend_…` of
  # {Polyphony}. New programs have better ones.
  module BackendTiming
    # The originals' names that a module function has, too.
    FUNCTIONS = %i[sleep timeout timer_loop wait_event waitpid].freeze

    # @see Verbs#sleep
    def sleep(seconds) = super

    # Runs the block; when the time is up, raises the exception, or with nil returns the value.
    #
    # @param exception [Class, Exception, String, Array(Class, String), nil]
    # @return [Object] the block's value, or `value`
    def timeout(seconds, exception, value = nil, &block)
      return Timeouts.move_on_after(seconds, value, &block) if exception.nil?

      Timeouts.raise_after(seconds, exception, &block)
    end

    # @see Verbs#every
    def timer_loop(interval, &block) = Polyphony.every(interval, &block)

    # Waits until the calling fiber is scheduled.
    #
    # @param raises [Boolean] whether an exception is raised, or returned
    # @return [Object, nil] what it was scheduled with
    def wait_event(raises)
      Polyphony.scheduler!.suspend
    rescue ::Exception => e
      raises ? raise : e
    end

    # Waits for a child process.
    #
    # @return [Array(Integer, Integer)] its id, and its status as waitpid(2) gives it
    def waitpid(pid)
      pid, status = ::Process.wait2(pid)
      [pid, status.to_i]
    end

    # Ends the wait of the thread, if it is blocked in the kernel. From any thread.
    #
    # @return [true, nil] nil for the calling thread's own, which runs
    def break
      return if equal?(Polyphony.scheduler)

      wake
      true
    end

    # Ends the children of the calling thread's main fiber, and with them what is in flight. The scheduler
    # itself ends with its thread, and can be used until then.
    #
    # @return [Scheduler] self
    # @raise [ThreadError] for another thread's
    def finalize
      ::Kernel.raise ::ThreadError, "a scheduler is finalized in its own thread" unless equal?(Polyphony.scheduler)

      ::Thread.current.main_fiber.shutdown_all_children
      self
    end

    # In the child of a fork: gives up what is the parent's. The first use of the scheduler does it by itself.
    #
    # @return [Scheduler] self
    def post_fork
      Polyphony.scheduler!
      self
    end

    # @param block [Proc, nil] called by each switch that finds no fiber ready. It must not wait; what it
    #   raises is raised in the main fiber.
    # @raise [TypeError] where it cannot be called
    def idle_proc=(block)
      BackendTiming.check_callable("idle_proc", block)
      @idle_proc = block
      hook_idle
    end

    # @param seconds [Numeric, nil] collects garbage when there is nothing else to do, and so much time has
    #   gone by. The collector works meanwhile as ever.
    # @raise [TypeError] where it is no number
    def idle_gc_period=(seconds)
      seconds = Float(seconds) if seconds
      @idle_gc_period = seconds
      @idle_gc_due = seconds && (clock + seconds)
      hook_idle
    end

    # Lets a block hear of each event, in the order in which things happen:
    #
    #     :spin, fiber, caller
    #     :schedule, fiber, value, prioritized, caller   whatever made it ready, also a completion
    #     :block, fiber, caller
    #     :enter_poll, fiber                             the fiber in which the thread looks at the kernel
    #     :leave_poll, fiber
    #     :unblock, fiber, value, caller
    #     :terminate, fiber, result
    #
    # A `caller` is where the thread is when the block is called. What another thread schedules is told in
    # this one. What the block does itself is not told.
    #
    # @param block [Proc, nil] It must not wait; what it raises is raised in the main fiber.
    # @raise [TypeError] where it cannot be called
    def trace_proc=(block)
      BackendTiming.check_callable("trace_proc", block)
      @trace_proc = block
      self.trace_hook = block
    end

    # Passes an event of one's own to the trace proc, which is called with what is given here.
    #
    # @return [void]
    def trace(*event)
      @trace_proc&.call(*event)
    end

    # Refuses what would raise at every switch.
    # @api private
    def self.check_callable(name, block)
      return if nil == block || block.respond_to?(:call)

      raise ::TypeError, "#{name} is something to call or nil, not #{block.class}"
    end

    private

    def clock = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)

    def hook_idle
      self.idle_hook = (method(:idle) if @idle_proc || @idle_gc_period)
    end

    def idle
      if @idle_gc_due && clock >= @idle_gc_due
        ::GC.start
        @idle_gc_due = clock + @idle_gc_period
      end
      @idle_proc&.call
    end
  end

  # The scheduler under its old name.
  Backend = Scheduler

  class Scheduler
    include BackendTiming

    # What `Polyphony::Backend.new` was for: every thread has its own, made when it is first used.
    #
    # @return [Scheduler] the calling thread's
    def self.new = Polyphony.scheduler!
  end

  # The calling thread's scheduler, by the original's names.
  #
  # @!method backend_sleep(seconds)
  #   @see BackendTiming#sleep
  # @!method backend_timeout(seconds, exception, value = nil)
  #   @see BackendTiming#timeout
  # @!method backend_timer_loop(interval)
  #   @see BackendTiming#timer_loop
  # @!method backend_wait_event(raises)
  #   @see BackendTiming#wait_event
  # @!method backend_waitpid(pid)
  #   @see BackendTiming#waitpid
  module BackendFunctions
    BackendTiming::FUNCTIONS.each do |name|
      define_method(:"backend_#{name}") { |*args, &block| Polyphony.scheduler!.public_send(name, *args, &block) }
    end
  end
  extend BackendFunctions
end
