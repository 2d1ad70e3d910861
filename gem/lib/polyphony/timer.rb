# frozen_string_literal: true

require_relative "bare"

module Polyphony
  # Timeouts that belong together and can be ended together.
  #
  # The original kept its own clock at a resolution, which was cheaper than the kernel's. Timers cost
  # nothing here, so they are exact, and the resolution is not looked at.
  class Timer
    # @param tag [Object, nil] a name for people
    # @param resolution [Numeric, nil] seconds
    def initialize(tag = nil, resolution: nil)
      @tag = tag
      @resolution = resolution
      @armed = {}.compare_by_identity
    end

    # Forgets every timeout that is armed: their blocks may take as long as they like.
    #
    # @return [Timer] self
    def stop
      @armed.each_value { |cancellers| cancellers.each(&:stop) }
      self
    end

    # @see Verbs#sleep
    def sleep(seconds) = super

    # @see Verbs#after
    def after(seconds, &block)
      ::Fiber.current.spin(@tag, Polyphony.place_of(block)) do
        sleep seconds
        block.call
      end
    end

    # @see Verbs#every
    def every(interval, &block)
      Polyphony.every(interval, &block)
    end

    # @see Verbs#cancel_after
    def cancel_after(seconds, with_exception: Cancel, &block)
      Timeouts.raise_after(seconds, with_exception, takes_canceller: true) { |canceller| armed(canceller, block) }
    end

    # @see Verbs#move_on_after
    def move_on_after(seconds, with_value: nil, &block)
      Timeouts.move_on_after(seconds, with_value, takes_canceller: true) { |canceller| armed(canceller, block) }
    end

    # Starts the time anew, of the innermost timeout that the calling fiber has armed here.
    #
    # @return [Timer] self
    def reset
      @armed[::Fiber.current]&.last&.reset
      self
    end

    private

    def armed(canceller, block)
      fiber = ::Fiber.current
      cancellers = (@armed[fiber] ||= [])
      cancellers.push(canceller)
      block.arity.zero? ? block.call : block.call(canceller)
    ensure
      cancellers.pop
      @armed.delete(fiber) if cancellers.empty?
    end
  end
end
