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
      strangers = fibers.reject { |fiber| fiber.is_a?(::Fiber) }
      raise ::TypeError, "only a Fiber can be awaited, not #{strangers.first.class}" unless strangers.empty?

      @waiter = ::Fiber.current
      @fibers = fibers
      @wanted = nil
      @left = fibers.uniq.count { |fiber| fiber.__watch__(self, self) }
    end

    # Waits until all have ended, or one has failed.
    def wait_for_all
      wait { @left.zero? || @failed }
    end

    # Waits until every one has ended, whatever it ended with.
    def wait_for_each
      wait { @left.zero? }
    end

    # Waits until one has ended.
    def wait_for_one
      wait { @first }
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
      Polyphony.unblock(self, @waiter) if @wanted&.call
    end

    private

    def wait(&wanted)
      @wanted = wanted
      scheduler = Polyphony.scheduler!
      scheduler.block(self, nil) until wanted.call
    ensure
      @wanted = nil
    end
  end
end
