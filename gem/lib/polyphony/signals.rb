# frozen_string_literal: true

module Polyphony
  # Signal handlers that may wait.
  #
  # Ruby runs a handler in the main thread, in the middle of whatever fiber is there. Where that thread runs
  # fibers the handler gets one of its own, first in line: it may sleep, read and write like any other.
  #
  # @api private
  module Signals
    # What Ruby calls; it knows what the user gave.
    class Handler < ::Proc
      # @return [#call]
      attr_accessor :given
    end

    # @param handler [#call] what the user gave to `trap`
    # @return [Handler] what Ruby calls
    def self.wrap(handler)
      prompt = ::Fiber.current if prompt?(handler)
      wrapped = Handler.new do |*signal|
        next handler.call(*signal) if prompt && evaluates?(prompt)

        # Signal 0 is the end of the process, which no fiber sees.
        scheduler = Polyphony.scheduler_of(::Thread.main) unless signal.first == 0 # rubocop:disable Style/NumericPredicate
        scheduler ? defer(scheduler, handler, signal) : handler.call(*signal)
      end
      wrapped.given = handler
      @handled = true
      wrapped
    end

    # @return [Boolean, nil] whether the program has ever given a handler
    def self.handled? = @handled

    # Lets SIGQUIT write what every fiber is doing, unless the program has something else for it. Not in a fiber:
    # it is asked for where fibers do not get on.
    def self.dump_at_quit
      earlier = ::Signal.trap(:QUIT) { $stderr.orig_write(Report.text) }
      return @own = 1 if %w[DEFAULT SYSTEM_DEFAULT].include?(earlier)

      ::Signal.trap(:QUIT, earlier)
    end

    # @return [Integer] how many handlers are ours
    def self.own = @own || 0

    # Whether it is IRB's own, which ends what the prompt evaluates: that may be code which never waits.
    def self.prompt?(handler)
      defined?(::IRB::Irb) && handler.is_a?(::Proc) && handler.binding.receiver.is_a?(::IRB::Irb)
    end

    # Whether the prompt's fiber runs: what waits hears of the signal at the next switch, as ever.
    def self.evaluates?(prompt)
      prompt.equal?(::Fiber.current) && Polyphony.scheduler # it is nil in the middle of a wait
    end

    # Handlers that have no fiber yet, each with what it is called with.
    PENDING = [] # rubocop:disable Style/MutableConstant
    private_constant :PENDING

    # Leaves a handler to the next switch. A fiber that was made here, in the handler, could lock nothing as
    # long as it lives, for Ruby lets no trap handler lock.
    def self.defer(scheduler, handler, signal)
      PENDING << [scheduler, handler, signal]
      scheduler.signalled
    end

    # Gives those that were deferred their fibers, in the order in which they came.
    def self.begin
      deferred = PENDING.slice!(0..)
      deferred.each { |scheduler, handler, signal| spin(scheduler, handler) { handler.call(*signal) } }
    end

    # @return [Boolean] whether a handler has no fiber yet
    def self.pending? = PENDING.any?

    # What the user gave to an earlier `trap`.
    def self.unwrap(handler)
      handler.is_a?(Handler) ? handler.given : handler
    end

    # Runs the block in a fiber that belongs to the thread's main one, before all others.
    #
    # @param handler [#call] where the fiber stands, for people
    # @return [Fiber]
    def self.spin(scheduler, handler, &block)
      main = ::Thread.current.main_fiber
      fiber = ::Fiber.new { fiber.__run__(block) }
      fiber.__prepare__(main, :oob, nil, handler)
      fiber.oob = true
      main.__adopt_child__(fiber)
      scheduler.adopt(fiber)
      Polyphony.schedule(fiber, nil, true)
      fiber
    end
  end
end
