# frozen_string_literal: true

module Polyphony
  # Reports when one fiber has held its thread for so long that the others felt it: it computed, or called what tells
  # no scheduler that it waits. In every thread that runs fibers; one watchdog at a time.
  #
  # Each switch then costs two looks at the clock. Off until it is made.
  #
  # @example
  #   watchdog = Polyphony::Watchdog.new(threshold: 0.02) { |stretch| logger.warn(stretch.to_s) }
  #   watchdog.stop
  class Watchdog
    # A time in which a thread's loop got no turn.
    class Stretch
      # @return [Fiber] the one that had the thread
      attr_reader :fiber
      # @return [String, nil] where it gave the thread away at last, and in which method
      attr_reader :line
      # @return [Float] how long it had had it
      attr_reader :seconds

      # @api private
      def initialize(fiber, line, seconds)
        @fiber = fiber
        @line = line
        @seconds = seconds
      end

      # @return [String] all of it in a sentence
      def to_s = format("%s held its thread for %.3f s, until %s", Report.title(fiber), seconds, line || "it ended")
    end

    # Tells whoever asked. What that raises does not concern the fiber.
    # @api private
    def self.tell(seconds)
      @report&.call(Stretch.new(::Fiber.current, Polyphony.caller_lines.first, seconds))
    rescue ::Exception => e
      $stderr.write("polyphony: the watchdog's block failed: #{e.full_message}")
    end

    # @api private
    def self.report=(report)
      @report = report
    end

    # @param threshold [Numeric] seconds
    # @yieldparam stretch [Stretch] each one that was longer, in the fiber that had the thread, which it must not let
    #   wait; by default they are written to `$stderr`
    def initialize(threshold: 0.01, &report)
      unless threshold.is_a?(::Numeric) && threshold.positive?
        raise ::ArgumentError, "a threshold is a time above zero, not #{threshold.inspect}"
      end

      Watchdog.report = report || ->(stretch) { $stderr.write("polyphony: #{stretch}\n") }
      Polyphony.watch_stretches(threshold)
    end

    # Watches no longer.
    #
    # @return [void]
    def stop
      Polyphony.watch_stretches(nil)
      Watchdog.report = nil
    end
  end
end
