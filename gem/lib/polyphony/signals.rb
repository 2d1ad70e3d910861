# frozen_string_literal: true

module Polyphony
  # Signal handlers that may wait.
  #
  # Ruby runs a handler in the main thread, in the middle of whatever fiber is there. Where that thread runs
  # fibers the handler gets one of its own, first in line: it may sleep, read and write like any other.
  #
  # @api private
  module Signals
    # @param handler [#call] what the user gave to `trap`
    # @return [Proc] what Ruby calls
    def self.wrap(handler)
      ::Kernel.proc do |*signal|
        # Signal 0 is the end of the process, which no fiber sees.
        scheduler = Polyphony.scheduler_of(::Thread.main) unless signal.first == 0 # rubocop:disable Style/NumericPredicate
        scheduler ? spin(scheduler, handler, signal) : handler.call(*signal)
      end
    end

    # Runs the handler in a fiber that belongs to the main one.
    def self.spin(scheduler, handler, signal)
      main = ::Thread.main.main_fiber
      fiber = ::Fiber.new(blocking: false) { fiber.__run__(scheduler, ::Kernel.proc { handler.call(*signal) }) }
      fiber.__prepare__(main, :signal, nil, handler)
      main.__adopt_child__(fiber)
      scheduler.adopt(fiber)
      Polyphony.schedule(fiber, nil, true)
    end
  end
end
