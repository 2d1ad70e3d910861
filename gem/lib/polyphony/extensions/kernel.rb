# frozen_string_literal: true

module Polyphony
  # Runs the block where stock Ruby would hold the thread: in a fiber of its own, when the calling one is a
  # main fiber. Ruby's own scheduler interface serves only fibers that are not blocking, and nothing makes
  # a main fiber one; so a helper makes the stock call and hands over the result.
  #
  # @api private
  def self.aside
    return yield unless scheduler && ::Fiber.current.blocking?

    helper = ::Fiber.current.spin(:aside) { yield }
    begin
      helper.await
    ensure
      ::Fiber.current.__await_ends__([helper.stop]) unless helper.dead?
    end
  end

  module Extensions
    # `sleep`, `system`, backticks and `trap`, as functions of Kernel.
    #
    # @!method sleep(seconds = nil)
    #   @see ::Kernel#sleep
    #   @note Suspends the calling fiber; ends early with what the fiber is scheduled with.
    #   @return [Object, nil]
    module KernelFunctions
      # @see ::Kernel#system
      # @note Suspends the calling fiber until the command has ended.
      def system(...)
        return super unless Polyphony.scheduler

        Polyphony.aside { super }
      end

      # @see ::Kernel#`
      # @note Suspends the calling fiber until the command has ended and its output is read.
      def `(command)
        return super unless Polyphony.scheduler

        Polyphony.aside { super(command) }
      end

      # @see ::Kernel#trap
      # @note Where the main thread runs fibers, the handler is a fiber: it may wait, and what it raises is
      #   raised in the main fiber.
      def trap(*arguments, &block)
        handler = arguments.size == 2 ? arguments.last : block
        return super unless arguments.size.between?(1, 2) && handler.respond_to?(:call)

        super(arguments.first, &Signals.wrap(handler))
      end
    end

    # The same as private methods of every object.
    Kernel = KernelFunctions.dup
    Kernel.send(:private, *Kernel.instance_methods)
  end
end
