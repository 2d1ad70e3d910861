# frozen_string_literal: true

module Polyphony
  module Extensions
    # @see ::Timeout
    module Timeout
      # @see ::Timeout#timeout
      # @note The exception is raised in the calling fiber, wherever it waits; also where it computes, if it was spun, or is a main fiber.
      def timeout(seconds, klass = nil, message = nil, &block)
        return super if Polyphony.scheduler.nil? || seconds.nil? || seconds.zero?

        given = [klass || ::Timeout::Error, message || "execution expired"]
        Timeouts.raise_after(seconds, given, watched: true) { block.call(seconds) }
      end
    end
  end
end
