# frozen_string_literal: true

require_relative "bare"

module Polyphony
  # Keeps what it runs to a rate: each call waits until its time has come.
  #
  # Times are absolute, so a slow call is not added to the wait; those that were missed are not made up for.
  class Throttler
    # When the tick comes that follows one: those that were missed by now are left out.
    #
    # @api private
    def self.following(due, now, interval)
      return now if interval.zero?

      due + interval * [((now - due) / interval).floor + 1, 1].max
    end

    # @param rate [Numeric, Hash] times a second; or `rate:`, or `interval:` in seconds
    # @raise [RuntimeError] where it is neither
    def initialize(rate = nil, **options)
      @interval = interval_of(rate || options)
      @due = clock
    end

    # Waits for its turn and runs the block.
    #
    # @note Suspends the calling fiber, also where it need not wait.
    # @yieldparam throttler [Throttler] self
    # @return [Object] the block's value
    def call
      now = clock
      due = @due
      @due = Throttler.following(due, now, @interval)
      due > now ? sleep(due - now) : snooze
      yield self
    end
    alias process call

    private

    def clock = ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)

    def interval_of(rate)
      interval =
        case rate
        when ::Numeric then 1.0 / rate
        when ::Hash then rate[:interval] || (rate[:rate] && 1.0 / rate[:rate])
        end
      raise "Invalid rate argument #{rate.inspect}" unless interval && interval >= 0 && interval.finite?

      interval
    end
  end
end
