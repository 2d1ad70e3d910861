# frozen_string_literal: true

module Polyphony
  module Extensions
    # What the original's queue could do and Ruby's cannot. Items stay in Ruby's own object.
    #
    # @see ::Thread::Queue
    module QueueExtras
      # Puts an item before all others.
      #
      # @return [self]
      def unshift(item)
        __change__ { |items| items.unshift(item) }
      end

      # Takes every item out that is equal to the one given.
      #
      # @return [self]
      def delete(item)
        __change__ { |items| items.delete(item) }
      end

      # Yields everything that is there, without waiting.
      #
      # @return [self]
      def shift_each(&block)
        shift_all.each(&block)
        self
      end

      # @return [Boolean] whether somebody waits for an item
      def pending? = empty? && num_waiting.positive?

      private

      # Takes everything out and puts back what the block makes of it. A queue that is closed takes nothing
      # back: it is left alone.
      def __change__
        ::Kernel.raise ::ClosedQueueError, "queue closed" if closed?

        items = shift_all
        yield items
        items.each { |item| push(item) }
        self
      end
    end
  end
end
