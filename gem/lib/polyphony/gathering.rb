# frozen_string_literal: true

module Polyphony
  # One fiber that waits for many: told of each that ends, woken once.
  #
  # @api private
  class Gathering
    # @return [Fiber, nil] the first that ended with an exception
    attr_reader :failed
    # @return [Fiber, nil] the first that ended
    attr_reader :first

    # @return [Fiber] the one that waits
    attr_reader :waiter

    # @param fibers [Array<Fiber>] those to wait for
    def initialize(fibers)
      fibers.each do |fiber|
        raise ::TypeError, "only a Fiber can be awaited, not #{fiber.class}" unless fiber.is_a?(::Fiber)
      end
      @waiter = ::Fiber.current
      @fibers = fibers
      @left = 0 # a fiber may end before all are counted, where a signal comes in between
      @left = fibers.count { |fiber| fiber.__watch__(self, self) } # one that is there twice counts once
    end

    # Waits until all have ended, or one has failed.
    def wait_for_all
      wait(:all)
    end

    # Waits until every one has ended, whatever it ended with.
    def wait_for_each
      wait(:each)
    end

    # Waits until one has ended.
    def wait_for_one
      wait(:one)
    end

    # Counts anew those that have not ended: one whose end a signal cut short may have told nobody.
    def recount
      @left = @fibers.uniq.count { |fiber| !fiber.dead? }
    end

    # Stops listening.
    def end
      @fibers.each { |fiber| fiber.__unwatch__(self) }
    end

    # Called for a fiber that had ended before anybody listened.
    def already(fiber, failed)
      @first ||= fiber
      @failed ||= fiber if failed
    end

    # Called by a fiber that ends.
    def finished(fiber, failed)
      @left -= 1
      @first ||= fiber
      @failed ||= fiber if failed
      Polyphony.unblock(self, @waiter) if @wanted && enough?
    end

    # Called by a fiber of whose end this may not have been told, or was.
    def look_again(fiber)
      recount
      @first ||= fiber
      Polyphony.unblock(self, @waiter) if @wanted && enough?
    end

    private

    def wait(wanted)
      @wanted = wanted
      scheduler = Polyphony.scheduler || Polyphony.scheduler!
      scheduler.block(self, nil) until enough?
    ensure
      @wanted = nil
    end

    def enough?
      case @wanted
      when :all then @left.zero? || @failed
      when :each then @left.zero?
      when :one then @first
      end
    end
  end
end
