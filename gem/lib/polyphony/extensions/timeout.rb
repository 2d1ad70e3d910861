# frozen_string_literal: true

module Polyphony
  module Extensions
    # @see ::Timeout
    module Timeout
      # From 0.4.2 on it says itself what is wrong with a negative time.
      REFUSES = (::Timeout::VERSION.split(".").map(&:to_i) <=> [0, 4, 2]) >= 0
      private_constant :REFUSES

      # @see ::Timeout#timeout
      # @note The exception is raised in the calling fiber, wherever it waits; also where it computes, if it was spun, or is a main fiber.
      def timeout(seconds, klass = nil, message = nil, &block)
        return super if Polyphony.scheduler.nil? || seconds.nil? || seconds.zero? || (REFUSES && seconds.negative?)

        given = [klass || ::Timeout::Error, message || "execution expired"]
        Timeouts.raise_after(seconds, given, watched: true) { block.call(seconds) }
      end
    end
  end
end
