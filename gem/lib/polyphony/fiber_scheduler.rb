# frozen_string_literal: true

module Polyphony
  # Ruby's Fiber::Scheduler interface over the same run queue.
  #
  # Whatever is not overridden (stock Mutex, Thread#join, C extensions that call `rb_io_wait`) comes
  # here when it waits in a spun fiber.
  #
  # @see https://docs.ruby-lang.org/en/master/Fiber/Scheduler.html
  class FiberScheduler
    # @param scheduler [Scheduler] the thread's own
    def initialize(scheduler = Polyphony.scheduler || Scheduler.start)
      @scheduler = scheduler
      @scheduled = 0
      @closer = nil
    end

    # Waits until `unblock` names this blocker, or the time is up.
    # @return [Boolean] whether it was unblocked
    def block(blocker, timeout = nil) = @scheduler.block(blocker, timeout)

    # Ends a `block`; from any thread; never raises.
    def unblock(blocker, fiber) = Polyphony.unblock(blocker, fiber)

    # @param duration [Numeric, nil] seconds; nil is for ever
    def kernel_sleep(duration = nil)
      @scheduler.block(:sleep, duration)
      true
    end

    # @return [Integer, false] the events that are ready, false when the time is up
    def io_wait(io, events, timeout = nil)
      timeout ||= io.timeout if io.respond_to?(:timeout)
      @scheduler.poll(io, events, timeout)
    end

    # @return [Process::Status, nil]
    def process_wait(pid, flags)
      Polyphony::Native.await_process(pid, flags)
      ::Process::Status.wait(pid, flags | ::Process::WNOHANG)
    end

    # Runs the block; an alarm raises in it when the time is up.
    def timeout_after(duration, exception = nil, message = nil)
      given = [exception || ::Timeout::Error, message || "execution expired"]
      Timeouts.raise_after(duration, given) { yield duration }
    end

    # Makes and starts a fiber: `Fiber.schedule`.
    def fiber(&block)
      fiber = ::Fiber.new(blocking: false) do
        @scheduler.enter
        block.call
      ensure
        @scheduled -= 1
        Polyphony.schedule(@closer, nil, false) if @closer && @scheduled.zero?
        @scheduler.leave
      end
      @scheduled += 1
      @scheduler.adopt(fiber)
      @scheduler.yield_to(fiber)
      fiber
    end

    # The thread ends, or another scheduler takes over: what `Fiber.schedule` began is finished first.
    def close
      @closer = ::Fiber.current
      @scheduler.suspend until @scheduled.zero?
      return if ::Thread.current == ::Thread.main

      fiber = ::Fiber.current
      fiber.shutdown_all_children if fiber.respond_to?(:shutdown_all_children)
    ensure
      @scheduler.close unless ::Thread.current == ::Thread.main
    end
  end
end
