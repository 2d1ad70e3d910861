# frozen_string_literal: true

module Polyphony
  module Extensions
    # What the original's queue could do and Ruby's cannot. Items stay in Ruby's own object; waiting is Rust.
    #
    # A queue with a cap holds no more than so many items: who pushes waits for room, first come first served.
    #
    # @see ::Thread::Queue
    #
    # @!method cap(limit)
    #   Limits how many items the queue may hold, as `Queue.new(limit)` does. Items that are there stay; those
    #   who wait to push go on where there is room now.
    #   @param limit [Integer, nil] nil and 0 take the limit away
    #   @return [self]
    #   @raise [ArgumentError] where it is negative
    #   @example
    #     Fiber.current.mailbox.cap(100) # whoever sends more waits for us
    # @!method capped?
    #   @return [Integer, nil] how many items it may hold; nil where that is not limited
    # @!method unshift(item)
    #   Puts an item before all others.
    #   @note Suspends the calling fiber where the queue has a limit, as {Queue#push} does there.
    #   @return [self]
    # @!method delete(item)
    #   Takes every item out that is equal to the one given. There may be room then for whoever waits to push.
    #   @return [self]
    # @!method flush_waiters(value)
    #   Ends the wait of every fiber that waits for an item: its `shift` returns the value, or raises it where
    #   it is an exception. Stock threads go on waiting.
    #   @return [self]
    module QueueExtras
      # Yields everything that is there, without waiting.
      #
      # @return [self]
      def shift_each(&block)
        shift_all.each(&block)
        self
      end

      # @return [Boolean] whether somebody waits for an item
      def pending? = empty? && num_waiting.positive?
    end
  end
end
