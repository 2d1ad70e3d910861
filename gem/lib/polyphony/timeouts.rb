# frozen_string_literal: true

module Polyphony
  # Timers that raise in the fiber that armed them.
  #
  # Each call makes a marker of its own. The timer raises the marker, and the call that made it takes it
  # for what it means; so timeouts nest, and each ends its own block.
  module Timeouts
    module_function

    # Runs the block; when the time is up, raises `exception` in its stead.
    #
    # @param seconds [Numeric]
    # @param exception [Class, Exception, String, Array(Class, String)]
    # @param watched [Boolean] whether the time ends also a block that computes
    def raise_after(seconds, exception, takes_canceller: false, watched: false, &block)
      expired = TimeoutException.new
      begin
        return guard(seconds, expired, takes_canceller, watched, &block)
      rescue TimeoutException => e
        ::Kernel.raise unless e.equal?(expired)
      end
      ::Kernel.raise(telling_what_went_out(make(exception), expired))
    end

    # A write that the time ended has told the marker how much it wrote.
    # @api private
    def telling_what_went_out(error, expired)
      written = expired.instance_variable_get(:@__bytes_written__)
      error.instance_variable_set(:@__bytes_written__, written) if written && !error.frozen?
      error
    end

    # Runs the block; when the time is up, the result is `value`.
    def move_on_after(seconds, value, takes_canceller: false, &block)
      expired = TimeoutException.new
      guard(seconds, expired, takes_canceller, &block)
    rescue TimeoutException => e
      ::Kernel.raise unless e.equal?(expired)

      value
    end

    # Runs the block; when the time is up, leaves it. Without a time it may take as long as it likes.
    # @api private
    def within(seconds, &block)
      seconds ? move_on_after(seconds, nil, &block) : yield
    end

    # Runs the block under a timer that raises `expired`.
    # @api private
    def guard(seconds, expired, takes_canceller, watched = false) # rubocop:disable Style/OptionalBooleanParameter
      scheduler = Polyphony.scheduler!
      timer = scheduler.alarm(seconds, expired, watched)
      begin
        takes_canceller ? yield(Canceller.make(scheduler, timer, seconds)) : yield
      ensure
        scheduler.disarm(timer, expired)
      end
    end

    # An exception from what the callers of `cancel_after` may give.
    # @api private
    def make(exception, message = nil)
      case exception
      when ::Exception then exception
      when ::Array then make(*exception)
      when ::Class then message ? exception.new(message) : exception.new
      else ::RuntimeError.new(exception.to_s)
      end
    end
  end

  # The thread that looks for timeouts which are over, and whose fibers compute. There is one while there are such
  # timeouts, and a while longer.
  #
  # @api private
  module Overdue
    RAISE = ::Thread.instance_method(:raise)
    # How many seconds it sleeps where there is nothing to wait for.
    REST = 1.0
    private_constant :RAISE, :REST

    class << self
      # @return [Thread, nil]
      attr_reader :thread

      # Looks earlier than it would have. A thread that has yet to begin looks as soon as it does.
      # @param anew [Boolean] whether the thread has ended
      # @return [Boolean] false in a Ractor that is not the main one, where nobody looks
      def look(anew)
        return false unless ::Ractor.current == ::Ractor.main

        anew ? @thread = ::Thread.new { watch } : @thread&.wakeup
        true
      rescue ::ThreadError
        true # it was killed, which is noticed when it should have looked
      end

      # Hears of a timeout that was raised in this thread, and that the program may have masked. The thread that
      # raises it may have lost its turn before Ruby knew of it: then it is waited for.
      # @return [Boolean] whether there was one
      def heard?
        ::Thread.handle_interrupt(TimeoutException => :immediate) { ::Thread.pass while @looking&.alive? }
        false
      rescue TimeoutException
        true
      end

      private

      # It ends a while after the last timeout: who has one after the other needs no new thread for each.
      def watch
        ::Thread.current.name = "polyphony timeouts"
        pause = nil
        sleep(pause) while (pause = interrupt(pause == REST))
      end

      def interrupt(may_end)
        @looking = ::Thread.current
        Polyphony.interrupt_overdue(RAISE, may_end)
      ensure
        @looking = nil
      end
    end
  end

  # Whether a fiber that nobody spun has yielded to who resumed it. Ruby says so where one may not transfer to
  # it; another thread asks, which may never do so.
  #
  # @api private
  def self.yielded?(fiber)
    answer = nil
    thread = ::Thread.new do
      fiber.transfer
    rescue ::FiberError => e
      answer = e.message
    end
    ::Thread.pass while thread.alive?
    answer.include?("yielding")
  end

  # What `cancel_after { |canceller| … }` yields: a child of the caller that stands for the timer.
  #
  # It never runs; `reset` moves the timer, as often as one likes, without making anything new.
  class Canceller < ::Fiber
    # @api private
    def self.make(scheduler, timer, seconds)
      canceller = new { nil }
      canceller.__send__(:arm, scheduler, timer, seconds)
      canceller
    end

    # @return [Fiber] the fiber that the timer is for
    attr_reader :parent

    # Starts the time anew.
    # @return [Canceller] self
    def reset(_value = nil)
      @scheduler.rearm(@timer, @seconds)
      self
    end
    alias restart reset

    # Forgets the timer: the block may take as long as it likes.
    # @return [Canceller] self
    def stop(_value = nil)
      @scheduler.disarm(@timer, nil)
      self
    end
    alias interrupt stop
    alias cancel stop
    alias kill stop
    alias terminate stop

    private

    def arm(scheduler, timer, seconds)
      @scheduler = scheduler
      @timer = timer
      @seconds = seconds
      @parent = ::Fiber.current
    end
  end
end
