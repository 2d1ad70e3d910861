# frozen_string_literal: true

module Polyphony
  module Extensions
    # @see ::Thread
    module Thread
      # @return [Fiber, nil] the fiber that the thread began with; nil where it runs no fibers
      attr_reader :main_fiber

      # Waits for the thread to end.
      #
      # @note Suspends the calling fiber.
      # @param limit [Numeric, nil] seconds
      # @return [Object] the block's value; with a limit the thread, or nil when the time is up. Where no
      #   fibers run it is the thread, as ever.
      # @raise what ended the thread
      def join(limit = nil)
        return super unless Polyphony.scheduler
        return value if limit.nil?

        # Ruby 3.1 forgets the limit where a fiber scheduler waits.
        Timeouts.move_on_after([Float(limit), 0].max, nil) do
          Polyphony.aside { super(nil) }
          self
        end
      end

      # @see #join
      def await(limit = nil)
        limit ? join(limit)&.value : value
      end

      # @see ::Thread#value
      def value
        return super unless Polyphony.scheduler

        Polyphony.aside { super }
      end

      # The thread's scheduler, which also answers `kind` and `stats`.
      #
      # @return [Scheduler]
      def backend
        equal?(::Thread.current) ? Polyphony.scheduler! : Polyphony.scheduler_of(self)
      end

      # Sends a message to the thread's main fiber.
      #
      # @return [Thread] self
      def <<(message)
        ::Kernel.raise ::ThreadError, "#{inspect} runs no fibers: nobody will receive the message" unless main_fiber

        main_fiber << message
        self
      end
    end
  end
end
