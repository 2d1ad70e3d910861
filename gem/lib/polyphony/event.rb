# frozen_string_literal: true

require_relative "bare"

module Polyphony
  # Something that one fiber waits for and any thread may signal. Signals do not add up: a second one before
  # anybody has heard the first replaces its value.
  #
  # @example
  #   done = Polyphony::Event.new
  #   Thread.new { done.signal(compute) }
  #   done.await
  class Event
    def initialize
      @signalled = false
      @value = nil
      @waiter = nil
    end

    # Waits for the signal, or finds one that came first.
    #
    # @note Suspends the calling fiber; ends early with what the fiber is scheduled with.
    # @return [Object, nil] the signal's value
    # @raise [RuntimeError] where another fiber waits already
    def await
      scheduler = Polyphony.scheduler!
      me = ::Fiber.current
      # In one step, in which no other thread gets a turn: of several that come at once one waits.
      @waiter ||= me
      raise "Event is already awaited by another fiber" unless @waiter.equal?(me)

      heard = scheduler.suspend until @signalled || heard
      return heard unless @signalled

      @signalled = false
      value = @value
      @value = nil
      value
    ensure
      @waiter = nil if @waiter.equal?(me)
    end

    # Wakes the fiber that waits, now or next. From any thread.
    #
    # @return [Event] self
    def signal(value = nil)
      @value = value
      @signalled = true
      waiter = @waiter
      Polyphony.schedule(waiter, nil, false) if waiter
      self
    end
  end
end
