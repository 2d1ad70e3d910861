# frozen_string_literal: true

module Polyphony
  # What every object can say where the drop-in is loaded; private, as `puts` is.
  #
  # @!method snooze
  #   Lets the other ready fibers run, then goes on.
  #   @note Suspends; interrupted by whatever is scheduled for the fiber.
  #   @return [Object, nil] what the fiber was scheduled with, if anything
  #   @example
  #     until done? do snooze end
  # @!method suspend
  #   Waits until somebody schedules the fiber. In a main fiber it also returns when nothing is left that
  #   could happen: it then means "run until idle".
  #   @return [Object, nil] what the fiber was scheduled with
  # @!method receive
  #   Waits for a message to the calling fiber.
  #   @return [Object] the message, also where it is an exception
  module Verbs
    # Starts a fiber, a child of the calling one. It runs at the caller's next switch.
    #
    # @param tag [Object] a name for people
    # @return [Fiber]
    # @example
    #   spin { sleep 1; :done }.await # => :done
    def spin(tag = nil, storage: true, &block)
      ::Fiber.current.spin(tag, nil, storage: storage, &block)
    end

    # Runs the block in a new fiber for ever, until it breaks or raises StopIteration.
    #
    # @param rate [Numeric, nil] at most so many times a second
    # @param interval [Numeric, nil] or once in so many seconds
    # @return [Fiber] its result is the value of the `break`
    def spin_loop(tag = nil, rate: nil, interval: nil, &block)
      raise ::ArgumentError, "spin_loop needs a block to run" unless block

      ::Fiber.current.spin(tag, Polyphony.place_of(block)) do
        if rate || interval
          throttled_loop(rate: rate, interval: interval, &block)
        else
          ::Kernel.loop(&block)
        end
      end
    end

    # Runs the block in a fiber of its own and waits for it and for every fiber that it spins.
    #
    # @return [Object] the block's value
    # @raise whatever the block or one of the fibers raises; none of them is left
    def spin_scope(&block)
      raise ::ArgumentError, "spin_scope needs a block" unless block

      ::Fiber.current.spin(nil, Polyphony.place_of(block)) do
        result = block.call
        ::Fiber.current.await_all_children
        result
      end.await
    end

    # Runs the block in a fiber, once, after so many seconds.
    #
    # @return [Fiber]
    def after(seconds, &block)
      raise ::ArgumentError, "after needs a block to run" unless block

      ::Fiber.current.spin(nil, Polyphony.place_of(block)) do
        sleep seconds
        block.call
      end
    end

    # Runs the block every so many seconds, in the calling fiber. A tick that comes late runs at once; those
    # that were missed by then are skipped, and the schedule stays what it was.
    #
    # @return [Object] the value of the `break`
    def every(interval)
      unless interval.is_a?(::Numeric) && interval.positive?
        raise ::ArgumentError, "every needs an interval above zero, not #{interval.inspect}"
      end

      due = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC) + interval
      ::Kernel.loop do
        now = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)
        due > now ? sleep(due - now) : snooze
        due = Throttler.following(due, now, interval)
        yield
      end
    end

    # Runs the block at most so many times a second, in the calling fiber.
    #
    # @param count [Integer, nil] stop after so many rounds
    # @return [Object] the value of the `break`
    def throttled_loop(times_a_second = nil, rate: times_a_second, interval: nil, count: nil, &block)
      interval ||= 1.0 / rate if rate
      raise ::ArgumentError, "throttled_loop needs a rate or an interval" unless interval

      throttler = Throttler.new(interval: interval)
      return ::Kernel.loop { throttler.call(&block) } unless count

      ::Kernel.loop do
        break if count <= 0

        count -= 1
        throttler.call(&block)
      end
    end

    # Runs the block; after so many seconds raises an exception in its stead.
    #
    # A block with a parameter gets a {Canceller}, whose `reset` starts the time anew.
    #
    # @param with_exception [Class, Exception, String, Array(Class, String)]
    # @return [Object] the block's value
    # @example
    #   cancel_after(5) { |timeout| while (line = socket.gets) do timeout.reset; handle(line) end }
    def cancel_after(seconds, with_exception: Polyphony::Cancel, &block)
      raise ::ArgumentError, "cancel_after needs a block to run" unless block

      Timeouts.raise_after(seconds, with_exception, takes_canceller: !block.arity.zero?, &block)
    end

    # Runs the block; after so many seconds the result is `with_value` and the block is left.
    #
    # @return [Object] the block's value, or `with_value`
    # @example
    #   move_on_after(3, with_value: :late) { socket.gets } # => a line, or :late
    def move_on_after(seconds, with_value: nil, &block)
      raise ::ArgumentError, "move_on_after needs a block to run" unless block

      Timeouts.move_on_after(seconds, with_value, takes_canceller: !block.arity.zero?, &block)
    end

    # Yields every message to the calling fiber, until the block breaks or raises StopIteration.
    #
    # @return [Object] the value of the `break`
    def receive_loop(&block)
      Polyphony.scheduler!
      ::Fiber.current.receive_loop(&block)
    end

    # @return [Array] the messages that wait, without waiting
    def receive_all_pending = ::Fiber.current.receive_all_pending

    # Hears of the end of each fiber given, and of each child of the calling one.
    #
    # @see Supervision#supervise
    def supervise(...) = ::Fiber.current.supervise(...)
  end

  extend Verbs.dup
  ::Kernel.extend(Verbs.dup.tap { |functions| functions.instance_methods.each { |name| functions.send(:remove_method, name) unless %i[snooze suspend].include?(name) } })
  Verbs.send(:private, *Verbs.instance_methods)
end
