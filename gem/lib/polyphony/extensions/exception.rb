# frozen_string_literal: true

module Polyphony
  module Extensions
    # Exceptions that know where they come from: their backtraces go on through the `spin`s, and leave out
    # the gem's own lines.
    #
    # @see ::Exception
    module Exception
      # @return [Fiber, nil] the spun fiber that the exception ended; nil where it ended none
      def source_fiber = @__origin__&.fiber
      alias raising_fiber source_fiber

      # Says that a fiber was ended by the exception, whose backtrace goes on there.
      #
      # @param fiber [Fiber, nil]
      def source_fiber=(fiber)
        @__origin__ = fiber && Origin.new(fiber)
      end
      alias raising_fiber= source_fiber=

      # @return [Integer, nil] how many bytes went out before the exception ended a `write`, `syswrite` or `send`
      #   of a fiber; nil where it ended none, and where Ruby buffers what is written
      # @example
      #   fiber = spin { io.write(much) rescue Polyphony::MoveOn => e; e.bytes_written }
      def bytes_written = @__bytes_written__

      # @return [Array<String>, nil] the lines below the raise, then those where the fiber was spun, and the
      #   fibers above it
      def backtrace
        raw = super
        return raw if raw.nil? || ::Exception.__disable_sanitized_backtrace__

        spun = @__origin__ ? @__origin__.lines : Exception.lines_of_spin(raw)
        lines = Polyphony.without_home(raw + spun)
        lines.empty? || lines.size == raw.size ? raw : lines
      end

      # Raises it.
      def invoke
        ::Kernel.raise(self)
      end

      # Lets an exception that was raised in one of the gem's own fibers, by what it called there for the
      # user, come from the user's line.
      # @api private
      def self.relocate(exception, lines)
        return unless Polyphony.without_home(exception.backtrace.to_a).empty?

        exception.instance_variable_set(:@__origin__, nil)
        exception.set_backtrace(lines)
      end

      # An exception that has left no fiber yet is looked at in the one that it was raised in.
      # @api private
      def self.lines_of_spin(raw)
        return [] if raw.empty? || Polyphony.without_home(raw.last(1)).any?

        fiber = ::Fiber.current
        fiber.thread && !fiber.main? ? fiber.caller : []
      end

      # What Exception itself learns.
      module Singleton
        # @return [Boolean, nil] whether backtraces are left as Ruby makes them
        attr_accessor :__disable_sanitized_backtrace__

        # Makes an exception of what people give for one.
        #
        # @param error [Exception, Class, String, Array(Class, String), nil]
        # @return [::Exception]
        def instantiate(error = nil, message = nil)
          error.nil? ? ::RuntimeError.new : Timeouts.make(error, message)
        end
      end
    end
  end
end
