# frozen_string_literal: true

module Polyphony
  module Extensions
    # Fibers that wait for something in a queue, or for room in it, first come first served.
    #
    # Items live in Ruby's own object, which objects made earlier, stock threads and C code share; only the
    # way of waiting differs. Whoever changes a queue promises what is new to the first in line. A fiber
    # that leaves with its promise unused (it was cancelled) hands it on; one whose promise a stock thread
    # took goes back to the head. So nothing that is there stays unseen, and newcomers do not push in.
    #
    # Several threads may use one line: every step is a single call into C, or touches no shared state.
    #
    # @api private
    class Line
      # One fiber in line, for one wait: a late wake-up of an earlier wait names another.
      class Waiter
        attr_reader :fiber
        attr_accessor :woken

        def initialize
          @fiber = ::Fiber.current
          @woken = false
        end
      end

      def initialize
        @waiting = []
        @promised = 0
      end

      def size = @waiting.size

      # Whether a newcomer may help itself where so many things are there.
      def free?(there) = @waiting.empty? && there > @promised

      # Waits until woken, or the time is up. The block says whether there is something already: what came
      # before the fiber stood in line woke nobody.
      #
      # @return [Boolean] whether it was woken
      def wait(scheduler, limit, first)
        waiter = Waiter.new
        first ? @waiting.unshift(waiter) : @waiting.push(waiter)
        through = false
        wake if yield
        scheduler.block(waiter, limit) unless waiter.woken
        through = true
        waiter.woken
      ensure
        leave(waiter, through)
      end

      # Promises something to the first in line.
      def wake
        waiter = @waiting.shift or return

        @promised += 1
        waiter.woken = true
        Polyphony.unblock(waiter, waiter.fiber)
      end

      def wake_all
        @waiting.size.times { wake }
      end

      private

      def leave(waiter, through)
        return @waiting.delete(waiter) unless waiter.woken

        @promised -= 1
        wake unless through
      end
    end

    # What both kinds of queue have in common.
    #
    # @api private
    module Waiting
      # @return [self]
      def close
        super
        @__poppers__&.wake_all
        @__pushers__&.wake_all
        self
      end

      # @return [Integer] fibers and threads
      def num_waiting
        super + (@__poppers__&.size || 0) + (@__pushers__&.size || 0)
      end

      # Takes everything that is there, without waiting.
      #
      # @return [Array]
      def shift_all
        items = []
        items << pop(true) until empty?
        items
      rescue ::ThreadError
        items # another thread was faster
      end

      private

      # Waits for its turn, does what the block does, and tries again where that found nothing.
      #
      # @param there [Proc] how much is there
      # @return [Object, nil] nil when the time is up, or the queue is closed
      def __in_turn__(line, scheduler, timeout, there)
        deadline = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC) + timeout if timeout
        turn = line.free?(there.call)
        first = false
        loop do
          yield if turn || closed?
          return if closed?

          left = deadline && (deadline - ::Process.clock_gettime(::Process::CLOCK_MONOTONIC))
          return if left && left.negative? && !first && !turn

          turn = line.wait(scheduler, left && [left, 0].max, first) { there.call.positive? || closed? }
          return if !turn && deadline && ::Process.clock_gettime(::Process::CLOCK_MONOTONIC) >= deadline

          first = true
        end
      end

      def __take__(line, scheduler, timeout)
        snooze # a switch point, also where there is something
        __in_turn__(line, scheduler, timeout, method(:size)) do
          return pop(true)
        rescue ::ThreadError
          nil # another thread was faster
        end
      end
    end

    # @see ::Thread::Queue
    # @note `pop` suspends the calling fiber; a fiber that is cancelled there leaves the item to the next one.
    module Queue
      include Waiting

      # @param non_block [Boolean] raise ThreadError instead of waiting
      # @param timeout [Numeric, nil] seconds; nil is returned when they are over
      # @return [Object, nil] nil where the queue is closed and empty
      def pop(non_block = false, timeout: nil)
        raise ::ArgumentError, "can't set a timeout if non_block is enabled" if non_block && timeout

        scheduler = Polyphony.scheduler
        return __take__(@__poppers__ ||= Line.new, scheduler, timeout) if scheduler && !non_block

        timeout ? super(non_block, timeout: timeout) : super(non_block)
      end
      alias shift pop
      alias deq pop

      # @return [self]
      def push(item)
        super
        @__poppers__&.wake
        self
      end
      alias << push
      alias enq push
    end

    # @see ::Thread::SizedQueue
    # @note `pop`, and `push` to a full queue, suspend the calling fiber.
    module SizedQueue
      include Waiting

      # @param non_block [Boolean] raise ThreadError instead of waiting for room
      # @param timeout [Numeric, nil] seconds
      # @return [self, nil] nil when the time is up
      def push(item, non_block = false, timeout: nil)
        raise ::ArgumentError, "can't set a timeout if non_block is enabled" if non_block && timeout

        scheduler = Polyphony.scheduler
        if scheduler && !non_block
          return __put__(@__pushers__ ||= Line.new, scheduler, timeout) { push(item, true) }
        end

        added = timeout ? super(item, non_block, timeout: timeout) : super(item, non_block)
        @__poppers__&.wake
        added
      end
      alias << push
      alias enq push

      # @see Queue#pop
      def pop(non_block = false, timeout: nil)
        raise ::ArgumentError, "can't set a timeout if non_block is enabled" if non_block && timeout

        scheduler = Polyphony.scheduler
        return __take__(@__poppers__ ||= Line.new, scheduler, timeout) if scheduler && !non_block

        item = timeout ? super(non_block, timeout: timeout) : super(non_block)
        @__pushers__&.wake
        item
      end
      alias shift pop
      alias deq pop

      def clear
        super
        @__pushers__&.wake_all
        self
      end

      def max=(room)
        super
        @__pushers__&.wake_all
      end

      private

      def __put__(line, scheduler, timeout)
        ::Kernel.raise ::ClosedQueueError, "queue closed" if closed?

        __in_turn__(line, scheduler, timeout, -> { max - size }) do
          return yield
        rescue ::ThreadError
          nil # another thread was faster
        end
        ::Kernel.raise ::ClosedQueueError, "queue closed" if closed?
      end
    end
  end

  # The same class under its old name.
  Queue = ::Thread::Queue
end
