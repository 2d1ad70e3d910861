# frozen_string_literal: true

module Polyphony
  module Extensions
    # Fibers that wait for a queue, first come first served.
    #
    # Items live in Ruby's own object, which objects made earlier, stock threads and C code share; only the
    # way of waiting differs. Whoever changes a queue wakes the first in line; whoever was woken and is
    # cancelled before it ran hands the wake-up on, so nothing that is there stays unseen.
    #
    # @api private
    class Line
      def initialize
        @fibers = {}.compare_by_identity
        @woken = {}.compare_by_identity
      end

      def size = @fibers.size

      def empty? = @fibers.empty?

      # Waits until woken, or the time is up.
      #
      # @return [Boolean] false when the time is up
      def wait(scheduler, limit)
        fiber = ::Fiber.current
        # A fiber that comes back, because what woke it was gone, keeps its place by coming back at once.
        @fibers[fiber] = true
        begin
          scheduler.block(self, limit)
        ensure
          @fibers.delete(fiber)
          passed_on = @woken.delete(fiber) && $! # rubocop:disable Style/SpecialGlobalVars
          wake if passed_on
        end
      end

      # Wakes the first that was not woken yet.
      def wake
        @fibers.each_key do |fiber|
          next if @woken.key?(fiber)

          @woken[fiber] = true
          return Polyphony.unblock(self, fiber)
        end
      end

      def wake_all
        @fibers.size.times { wake }
      end
    end

    # @see ::Thread::Queue
    # @note `pop`, and `push` to a full SizedQueue, suspend the calling fiber; a fiber that is cancelled
    #   there leaves the item to the next one.
    module Queue
      # @param non_block [Boolean] raise ThreadError instead of waiting
      # @param timeout [Numeric, nil] seconds; nil is returned when they are over
      # @return [Object, nil] nil where the queue is closed and empty
      def pop(non_block = false, timeout: nil)
        scheduler = Polyphony.scheduler
        if scheduler.nil? || non_block
          return timeout ? super(non_block, timeout: timeout) : super(non_block)
        end

        __take__(scheduler, timeout) { |item| return item }
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

      # @return [self]
      def close
        super
        @__poppers__&.wake_all
        @__pushers__&.wake_all
        self
      end

      # @return [Integer] fibers and threads
      def num_waiting
        super + (@__poppers__ ? @__poppers__.size : 0) + (@__pushers__ ? @__pushers__.size : 0)
      end

      # Takes everything that is there, without waiting.
      #
      # @return [Array]
      def shift_all
        items = []
        items << pop(true) until empty?
        items
      rescue ::ThreadError
        items
      end

      private

      def __take__(scheduler, timeout)
        deadline = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC) + timeout if timeout
        line = (@__poppers__ ||= Line.new)
        snooze
        until !empty? && line.empty? && __try__ { |item| yield item }
          return if closed? && empty?

          # Behind those that wait already, who are woken first.
          left = deadline && [deadline - ::Process.clock_gettime(::Process::CLOCK_MONOTONIC), 0].max
          return unless line.wait(scheduler, left)

          __try__ { |item| yield item }
        end
      end

      def __try__
        yield pop(true) unless empty?
        false
      rescue ::ThreadError
        false # another thread was faster
      end
    end

    # @see ::Thread::SizedQueue
    module SizedQueue
      include Queue

      # @param non_block [Boolean] raise ThreadError instead of waiting for room
      # @return [self, nil] nil when the time is up
      def push(item, non_block = false, timeout: nil)
        scheduler = Polyphony.scheduler
        stock = scheduler.nil? || non_block
        return timeout ? super(item, non_block, timeout: timeout) : super(item, non_block) if stock

        line = (@__pushers__ ||= Line.new)
        while size >= max || !line.empty?
          ::Kernel.raise ::ClosedQueueError, "queue closed" if closed?
          return unless line.wait(scheduler, timeout)
          break if size < max
        end
        super(item, true)
      end
      alias << push
      alias enq push

      def pop(...)
        item = super
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
    end
  end

  # The same class under its old name.
  Queue = ::Thread::Queue
end
