# frozen_string_literal: true

module Polyphony
  module Extensions
    # What both kinds of queue have in common.
    #
    # @api private
    module Waiting
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
    end

    # Items stay in Ruby's own queue; how a fiber waits for them is Rust.
    #
    # @!method pop(non_block = false, timeout: nil)
    #   @see ::Thread::Queue#pop
    #   @note Suspends the calling fiber, also where something is there: the others have a turn. A fiber that
    #     is cancelled there leaves the item to the next one.
    #   @param non_block [Boolean] raise ThreadError instead of waiting
    #   @param timeout [Numeric, nil] seconds; nil is returned when they are over
    #   @return [Object, nil] nil where the queue is closed and empty
    # @!method shift(non_block = false, timeout: nil)
    #   @see #pop
    # @!method deq(non_block = false, timeout: nil)
    #   @see #pop
    # @!method push(item)
    #   @note Suspends the calling fiber where the queue has a cap, also where there is room. A fiber that is
    #     cancelled there has pushed nothing, and leaves the room to the next one.
    #   @return [self]
    #   @raise [ClosedQueueError] where the queue is closed, also meanwhile
    # @!method <<(item)
    #   @see #push
    # @!method enq(item)
    #   @see #push
    # @!method clear
    #   Makes room for whoever waits to push.
    #   @return [self]
    # @!method close
    #   Whoever waits goes on: nothing more will come.
    #   @return [self]
    # @!method num_waiting
    #   @return [Integer] fibers and threads that wait for an item
    module Queue
      include Waiting
    end

    # @see Queue
    #
    # @!method push(item, non_block = false, timeout: nil)
    #   @see ::Thread::SizedQueue#push
    #   @note Suspends the calling fiber where there is no room. A fiber that is cancelled there leaves the
    #     room to the next one.
    #   @param non_block [Boolean] raise ThreadError instead of waiting for room
    #   @param timeout [Numeric, nil] seconds
    #   @return [self, nil] nil when the time is up
    # @!method <<(item, non_block = false, timeout: nil)
    #   @see #push
    # @!method enq(item, non_block = false, timeout: nil)
    #   @see #push
    # @!method pop(non_block = false, timeout: nil)
    #   @see Queue#pop
    #   @note Suspends the calling fiber where nothing is there, or others wait for it already. A fiber that is
    #     cancelled there leaves the item to the next one.
    # @!method shift(non_block = false, timeout: nil)
    #   @see #pop
    # @!method deq(non_block = false, timeout: nil)
    #   @see #pop
    # @!method clear
    #   Makes room for whoever waits to push.
    #   @return [self]
    # @!method close
    #   @see Queue#close
    # @!method num_waiting
    #   @see Queue#num_waiting
    # @!method max=(room)
    #   Makes room for whoever waits to push.
    module SizedQueue
      include Waiting

      # What `max=` does, as {QueueExtras#cap} says it.
      #
      # @return [self]
      # @raise [ArgumentError] unless it is above zero: this queue has a limit always
      def cap(limit)
        self.max = limit
        self
      end
    end
  end

  # The same class under its old name.
  Queue = ::Thread::Queue
end
